//! What happens to the two phones, and how each step must end.

use super::account::Account;
use super::{APP, PACKAGE, PUBLIC_URL, SIGNER, TEAM};
use crate::grpc::proto::{Decision, DeviceState, Grant, RefreshOutcome};
use crate::reason::Reason;
use crate::service::Service;
use crate::simulator::client::{Backend, Refused};
use crate::simulator::{Authorities, Device, Evidence, android, apple};
use crate::time::{Clock, monotonic_now};

/// The API the phones call.
const API: &str = "https://api.example.com/v1/accounts";

/// Times a step and puts it into the account; gives what it brought, for the steps after it.
macro_rules! step {
    ($account:expr, $what:expr, $went:expr) => {{
        let began = monotonic_now();
        let went: Result<_, String> = $went.await;
        let (brought, told) = match went {
            Ok((brought, seen)) => (Some(brought), Ok(seen)),
            Err(why) => (None, Err(why)),
        };
        $account.step(began, $what, told);
        brought
    }};
}

/// The Android phone's story.
pub(super) async fn android(
    account: &mut Account<'_>,
    service: &Service,
    authorities: &Authorities,
    clock: &Clock,
) {
    account
        .chapter("An Android phone (key in a trusted execution environment, remotely provisioned)");
    let now = clock.now();
    let kept = android::Options::well_kept(PACKAGE, SIGNER, now);
    let mut unlocked = kept.clone();
    unlocked.boot = android::Boot::Unlocked;
    let phones = [kept.clone(), kept, unlocked]
        .map(|options| android::Phone::new(authorities, options, now).map(Device::android));
    let Some((phone, thief, unlocked)) = made(account, phones) else {
        return;
    };
    let Some(mut backend) = connect(account, service, clock).await else {
        return;
    };
    step!(account, "an unlocked phone is refused", async {
        let mut phone = unlocked;
        let (_, refused) = register(&mut backend, &mut phone, "mallory", clock, |_| {}).await?;
        must_be_refused(refused, Reason::BootStateRejected)
    });
    story(account, &mut backend, (phone, thief, "alice"), clock).await;
}

/// The iPhone's story.
pub(super) async fn apple(
    account: &mut Account<'_>,
    service: &Service,
    authorities: &Authorities,
    clock: &Clock,
) {
    account.chapter("An iPhone (App Attest vouches for a Secure Enclave key)");
    let phones = [
        apple::Environment::Production,
        apple::Environment::Production,
        apple::Environment::Development,
    ]
    .map(|environment| {
        let options = apple::Options::well_kept(TEAM, PACKAGE, environment);
        apple::Phone::new(authorities, options).map(Device::apple)
    });
    let Some((phone, thief, development)) = made(account, phones) else {
        return;
    };
    let Some(mut backend) = connect(account, service, clock).await else {
        return;
    };
    step!(account, "a development build is refused", async {
        let mut phone = development;
        let (_, refused) = register(&mut backend, &mut phone, "mallory", clock, |_| {}).await?;
        must_be_refused(refused, Reason::AttestationEnvironmentMismatch)
    });
    story(account, &mut backend, (phone, thief, "bob"), clock).await;
}

/// The three phones of a chapter: the hero, a thief's, one that is not fit.
fn made<E>(
    account: &mut Account<'_>,
    phones: [Result<Device, E>; 3],
) -> Option<(Device, Device, Device)> {
    if let [Ok(hero), Ok(thief), Ok(unfit)] = phones {
        return Some((hero, thief, unfit));
    }
    let failed = Err("it could not be done".to_owned());
    account.step(monotonic_now(), "making phones", failed);
    None
}

async fn connect(account: &mut Account<'_>, service: &Service, clock: &Clock) -> Option<Backend> {
    step!(account, "the backend connects", async {
        let names = (PUBLIC_URL, APP);
        let backend = Backend::connect(service.grpc_addr(), names, clock.clone()).await;
        backend
            .map(|backend| (backend, "gRPC".to_owned()))
            .map_err(|error| error.to_string())
    })
}

/// What happens to every phone.
async fn story(
    account: &mut Account<'_>,
    backend: &mut Backend,
    (mut phone, mut thief, subject): (Device, Device, &str),
    clock: &Clock,
) {
    step!(account, "tampered evidence is refused", async {
        let tampered = register(backend, &mut thief, "mallory", clock, tamper)
            .await?
            .1;
        match tampered {
            Err(Refused::Reason(reason)) => Ok(((), reason)),
            other => Err(format!("{other:?}")),
        }
    });
    let Some((device_id, first)) =
        step!(account, "the phone registers with its attestation", async {
            let (first, device) = register(backend, &mut phone, subject, clock, |_| {}).await?;
            let device = device.map_err(|error| error.to_string())?;
            let seen = format!(
                "{}, {}",
                device.device_id,
                device.trust_level().as_str_name()
            );
            Ok(((device.device_id, first), seen))
        })
    else {
        return;
    };
    let Some(grant) = step!(account, "it gets a device-bound session", async {
        let grant = backend.issue(subject, (&phone, &device_id)).await;
        let grant = grant.map_err(|error| error.to_string())?;
        let session = grant.session.clone().unwrap_or_default().session_id;
        Ok((grant, session))
    }) else {
        return;
    };
    calls(account, backend, &phone, &grant).await;
    let Some(grant) = refreshes(account, backend, (&phone, &thief), grant).await else {
        return;
    };
    revocation(
        account,
        backend,
        (&phone, subject),
        (&device_id, &first, &grant),
    )
    .await;
}

/// API calls: one that passes, and the same proof again.
async fn calls(account: &mut Account<'_>, backend: &mut Backend, phone: &Device, grant: &Grant) {
    let token = &grant.access_token;
    let Some(proof) = step!(account, "its API call is verified", async {
        let proof = backend
            .call_proof(phone, API, token)
            .await
            .map_err(|e| e.to_string())?;
        let decision = backend
            .verify(API, token, &proof)
            .await
            .map_err(|e| e.to_string())?;
        if !decision.allow {
            return Err(decision.reason);
        }
        Ok((
            proof,
            format!("allowed, scopes {}", decision.scopes.join(" ")),
        ))
    }) else {
        return;
    };
    step!(account, "the same proof again is refused", async {
        must_be_denied(
            backend.verify(API, token, &proof).await,
            Reason::ProofReplayed,
        )
    });
    step!(
        account,
        "the token with a proof for another URI is refused",
        async {
            let other = "https://api.example.com/v1/transfers";
            let proof = backend
                .call_proof(phone, other, token)
                .await
                .map_err(|e| e.to_string())?;
            must_be_denied(
                backend.verify(API, token, &proof).await,
                Reason::ProofTargetMismatch,
            )
        }
    );
}

/// Refreshes: a lost answer, a thief without the key, and the session that outlives both.
async fn refreshes(
    account: &mut Account<'_>,
    backend: &mut Backend,
    (phone, thief): (&Device, &Device),
    grant: Grant,
) -> Option<Grant> {
    let lost = step!(account, "it refreshes, and the answer is lost", async {
        let lost = backend.refresh(phone, &grant.refresh_token).await;
        must_end(lost, RefreshOutcome::Rotated)
    })?;
    let again = step!(
        account,
        "it tries again and gets the very same successor",
        async {
            let again = backend.refresh(phone, &grant.refresh_token).await;
            let (again, seen) = must_end(again, RefreshOutcome::Retry)?;
            if again.refresh_token != lost.refresh_token {
                return Err("another refresh token than the lost one".to_owned());
            }
            Ok((again, seen))
        }
    )?;
    step!(
        account,
        "a thief with the refresh token but without the key is refused",
        async {
            match backend.refresh(thief, &again.refresh_token).await {
                Err(Refused::Reason(reason)) if reason == Reason::TokenInvalid.as_str() => {
                    Ok(((), reason))
                }
                other => Err(format!("{:?}", other.map(|(_, outcome)| outcome))),
            }
        }
    );
    step!(account, "the session is unharmed", async {
        let next = backend.refresh(phone, &again.refresh_token).await;
        must_end(next, RefreshOutcome::Rotated)
    })
}

/// Revocation, and the refusals after it.
async fn revocation(
    account: &mut Account<'_>,
    backend: &mut Backend,
    (phone, subject): (&Device, &str),
    (device_id, first, grant): (&str, &(Vec<u8>, Evidence), &Grant),
) {
    step!(account, "on-call revokes the lost phone", async {
        match backend.revoke(device_id).await {
            Ok(DeviceState::Revoked) => Ok(((), "revoked".to_owned())),
            other => Err(format!("{other:?}")),
        }
    });
    let token = &grant.access_token;
    step!(account, "its API call is refused", async {
        let proof = backend
            .call_proof(phone, API, token)
            .await
            .map_err(|e| e.to_string())?;
        must_be_denied(
            backend.verify(API, token, &proof).await,
            Reason::DeviceRevoked,
        )
    });
    step!(account, "its access token is inactive", async {
        match backend.is_active(token).await {
            Ok(false) => Ok(((), "active: false".to_owned())),
            other => Err(format!("{other:?}")),
        }
    });
    step!(account, "its refresh is refused", async {
        let refreshed = backend.refresh(phone, &grant.refresh_token).await;
        must_be_refused(refreshed, Reason::DeviceRevoked)
    });
    step!(account, "a new session is refused", async {
        let issued = backend.issue(subject, (phone, device_id)).await;
        must_be_refused(issued, Reason::DeviceRevoked)
    });
    step!(account, "its key does not come back", async {
        let (challenge, evidence) = first;
        let registered = backend.register(subject, challenge, evidence).await;
        must_be_refused(registered, Reason::DeviceKeyBanned)
    });
}

type Registered = Result<crate::grpc::proto::Device, Refused>;

/// Lets a phone register, with its evidence changed on the way; gives what was sent, too.
async fn register(
    backend: &mut Backend,
    phone: &mut Device,
    subject: &str,
    clock: &Clock,
    change: impl FnOnce(&mut Evidence),
) -> Result<((Vec<u8>, Evidence), Registered), String> {
    let challenge = backend
        .challenge(subject)
        .await
        .map_err(|error| error.to_string())?;
    let evidence = phone.evidence(&challenge, APP, clock.now());
    let mut evidence = evidence.map_err(|error| error.to_string())?;
    change(&mut evidence);
    let registered = backend.register(subject, &challenge, &evidence).await;
    Ok(((challenge, evidence), registered))
}

/// Changes one bit in the middle of what the phone signed.
fn tamper(evidence: &mut Evidence) {
    let bytes = match evidence {
        Evidence::Android { certificate_chain } => certificate_chain.first_mut(),
        Evidence::Apple {
            attestation_object, ..
        } => Some(attestation_object),
    };
    if let Some(bytes) = bytes {
        let middle = bytes.len() / 2;
        bytes
            .iter_mut()
            .skip(middle)
            .take(1)
            .for_each(|byte| *byte ^= 1);
    }
}

fn must_be_refused<T>(answer: Result<T, Refused>, reason: Reason) -> Result<((), String), String> {
    match answer {
        Err(Refused::Reason(said)) if said == reason.as_str() => Ok(((), said)),
        Err(other) => Err(format!("{other}, not {reason}")),
        Ok(_) => Err(format!("accepted, not {reason}")),
    }
}

fn must_be_denied(
    answer: Result<Decision, Refused>,
    reason: Reason,
) -> Result<((), String), String> {
    match answer {
        Ok(decision) if !decision.allow && decision.reason == reason.as_str() => {
            Ok(((), decision.reason))
        }
        Ok(decision) if decision.allow => Err(format!("allowed, not {reason}")),
        Ok(decision) => Err(format!("{}, not {reason}", decision.reason)),
        Err(other) => Err(other.to_string()),
    }
}

fn must_end(
    answer: Result<(Grant, RefreshOutcome), Refused>,
    outcome: RefreshOutcome,
) -> Result<(Grant, String), String> {
    match answer {
        Ok((grant, ended)) if ended == outcome => Ok((grant, ended.as_str_name().to_owned())),
        Ok((_, ended)) => Err(format!(
            "{}, not {}",
            ended.as_str_name(),
            outcome.as_str_name()
        )),
        Err(refused) => Err(refused.to_string()),
    }
}
