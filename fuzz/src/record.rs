//! Records of the store.

use std::sync::LazyLock;

use assay::id::{Bucket, DeviceId, SessionId};
use assay::key::Thumbprint;
use assay::key_directory::generate_files;
use assay::policy::Signal;
use assay::session::{
    Consent, Cut, Device, DeviceEntry, EndReason, Fleet, Footprint, Risk, Session, SessionEntry,
    SessionState, StepUp, StepUpCause, SubjectRecord, Tally, UsedUp,
};
use assay::store::record::{RecordError, Stored, seal, unseal};
use assay::store::{Key, OperationId, Record, keys};
use assay::token::KeyTag;
use assay::token::keyring::Keyring;

use super::make::{NOW, edited};

static KEYRING: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::from_pem(&generate_files(*NOW).unwrap()).unwrap());

fn name() -> Key {
    keys::fleet(Bucket::new(7).unwrap())
}

fn stored(value: Vec<u8>) -> Record {
    Record {
        value,
        version: OperationId([0; 16]),
    }
}

/// What is read is written and read as the same, sealed or not, and opens under its own name only.
fn kept<T: Stored + PartialEq>(plain: &[u8]) -> bool {
    let Ok(record) = T::decode(plain) else {
        return false;
    };
    let written = record.encode();
    assert!(
        T::decode(&written).is_ok_and(|again| again == record),
        "changed by writing"
    );
    let sealed = seal(&KEYRING, &name(), &record).expect("there is randomness");
    let opened: Result<T, _> = unseal(&KEYRING, &name(), &stored(sealed.clone()));
    assert!(opened.is_ok_and(|again| again == record));
    let elsewhere = keys::fleet(Bucket::new(8).unwrap());
    let moved: Result<T, _> = unseal(&KEYRING, &elsewhere, &stored(sealed));
    assert_eq!(moved.err(), Some(RecordError::Sealed));
    true
}

/// The first byte says what the rest is: a record of a kind, or something sealed, or changes to it.
pub(crate) fn record(data: &[u8]) -> bool {
    let Some((which, rest)) = data.split_first() else {
        return false;
    };
    match which % 6 {
        0 => kept::<Device>(rest),
        1 => kept::<Session>(rest),
        2 => kept::<SubjectRecord>(rest),
        3 => kept::<Fleet>(rest),
        4 => {
            // Nobody else seals: what opens was sealed below, where the fuzzer can see it.
            let opened: Result<Fleet, _> = unseal(&KEYRING, &name(), &stored(rest.to_vec()));
            assert!(opened.is_err() || opened == Ok(fleet()));
            false
        }
        _ => {
            let sealed = seal(&KEYRING, &name(), &fleet()).unwrap();
            let changed = edited(&sealed, rest);
            let same = changed == sealed;
            let opened: Result<Fleet, _> = unseal(&KEYRING, &name(), &stored(changed));
            assert_eq!(opened.is_ok(), same, "a changed record opens");
            same
        }
    }
}

fn fleet() -> Fleet {
    let app = "bank".parse().unwrap();
    Fleet {
        not_before: Some(*NOW),
        apps: [(app, *NOW)].into(),
    }
}

fn session() -> Session {
    let bucket = Bucket::new(7).unwrap();
    Session {
        id: SessionId::new(bucket, [1; 16]),
        device: DeviceId::new(bucket, [2; 16]),
        app: "bank".parse().unwrap(),
        subject: "user".parse().unwrap(),
        session_key: Thumbprint::from_bytes([3; 32]),
        state: SessionState::Ended {
            at: *NOW,
            why: EndReason::RefreshTokenReused,
        },
        generation: 4,
        refresh_key: KeyTag::from_bytes([5; 4]),
        rotated_at: *NOW,
        opened_at: *NOW,
        idle_expires_at: *NOW,
        expires_at: *NOW,
        device_epoch: 6,
        subject_epoch: 7,
        scopes: ["read".to_owned()].into(),
        audience: "https://api.example".to_owned(),
        roles: vec!["admin".to_owned()],
        acr: "2".to_owned(),
        amr: vec!["hwk".to_owned()],
        auth_time: *NOW,
        consent: Some(Consent {
            id: "consent-1".parse().unwrap(),
            epoch: 8,
        }),
        step_up: Some(StepUp {
            since: *NOW,
            why: StepUpCause::Risk,
        }),
        cut: Some(Cut {
            generation: 3,
            at: *NOW,
        }),
        risk: Risk {
            tallies: [(
                Signal::ProofReplayed,
                Tally {
                    heat: 1500,
                    last: *NOW,
                },
            )]
            .into(),
        },
        footprint: Footprint {
            network: Some(vec![192, 0]),
            locale: Some("de-AT".to_owned()),
        },
        answered_at: Some(*NOW),
        used_up: [(
            4,
            UsedUp {
                at: *NOW,
                proof_made_at: *NOW,
            },
        )]
        .into(),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let session = session();
    let subject = SubjectRecord {
        epoch: 1,
        devices: vec![DeviceEntry {
            id: session.device,
            app: session.app.clone(),
        }],
        sessions: vec![SessionEntry {
            id: session.id,
            device: session.device,
            expires_at: *NOW,
        }],
        consents: [("consent-1".parse().unwrap(), 8)].into(),
    };
    vec![
        [vec![1], session.encode()].concat(),
        [vec![2], subject.encode()].concat(),
        [vec![3], fleet().encode()].concat(),
        [vec![4, 1], vec![0; 60]].concat(),
        vec![5],
        vec![5, 0, 9, 0, 1],
        // A device, by the numbers of its first fields.
        vec![0, 10, 18],
        // And of its presence key.
        vec![0, 0xba, 0x01, 4, 10, 0, 16, 2],
    ]
}
