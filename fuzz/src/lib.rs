//! The bodies of the fuzz targets.
//!
//! The fuzzers call them with whatever they come up with, and the tests of the service with the
//! corpus and the seeds. A body panics when a promise is broken; otherwise it tells whether the
//! input was accepted, so that the tests can see that a target reaches what it is for.

mod android;
mod apple;
mod make;
mod receipt;
mod record;
mod text;
mod tokens;
mod wire;

use std::path::Path;

/// One target: what is done with an input, and inputs to begin with.
pub struct Target {
    /// As in `fuzz_targets/` and `corpus/`.
    pub name: &'static str,
    /// Whether the input was accepted.
    pub run: fn(&[u8]) -> bool,
    /// Made by the software phones, or by hand; at least one of them is accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The same from the data of real devices.
    pub real_seeds: fn(&Path) -> Vec<Vec<u8>>,
}

const NONE: fn(&Path) -> Vec<Vec<u8>> = |_| Vec::new();

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "android_chain",
        run: android::chain,
        seeds: android::chain_seeds,
        real_seeds: android::real_chains,
    },
    Target {
        name: "key_description",
        run: android::key_description,
        seeds: android::key_description_seeds,
        real_seeds: android::real_key_descriptions,
    },
    Target {
        name: "apple_attestation",
        run: apple::attestation,
        seeds: apple::attestation_seeds,
        real_seeds: apple::real_attestations,
    },
    Target {
        name: "apple_auth_data",
        run: apple::auth_data,
        seeds: apple::auth_data_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "apple_assertion",
        run: apple::assertion,
        seeds: apple::assertion_seeds,
        real_seeds: apple::real_assertions,
    },
    Target {
        name: "apple_receipt",
        run: receipt::receipt,
        seeds: receipt::seeds,
        real_seeds: receipt::real_receipts,
    },
    Target {
        name: "client_data",
        run: text::client_data,
        seeds: text::client_data_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "status_list",
        run: text::status_list,
        seeds: text::status_list_seeds,
        real_seeds: text::real_status_lists,
    },
    Target {
        name: "target_uri",
        run: text::target_uri,
        seeds: text::target_uri_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "config",
        run: text::config,
        seeds: text::config_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "dpop",
        run: tokens::dpop,
        seeds: tokens::dpop_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "access_token",
        run: tokens::access,
        seeds: tokens::access_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "refresh_token",
        run: tokens::refresh,
        seeds: tokens::refresh_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "challenge",
        run: tokens::challenge,
        seeds: tokens::challenge_seeds,
        real_seeds: NONE,
    },
    Target {
        name: "wire",
        run: wire::scan,
        seeds: wire::seeds,
        real_seeds: NONE,
    },
    Target {
        name: "record",
        run: record::record,
        seeds: record::seeds,
        real_seeds: NONE,
    },
];

/// The target of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}

impl Target {
    /// Writes the seeds into a directory.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn write_seeds(&self, directory: &Path, vectors: Option<&Path>) {
        let mut seeds = (self.seeds)();
        seeds.extend(vectors.map(self.real_seeds).unwrap_or_default());
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

/// Called by a fuzzer before it reads its corpus: writes the seeds into the directory that
/// `ASSAY_FUZZ_SEEDS` names, where it names one.
pub fn begin(name: &str) {
    let vectors = std::env::var_os("ASSAY_VECTORS");
    if let Some(directory) = std::env::var_os("ASSAY_FUZZ_SEEDS") {
        target(name).write_seeds(directory.as_ref(), vectors.as_deref().map(Path::new));
    }
}
