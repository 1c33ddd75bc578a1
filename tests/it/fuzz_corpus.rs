//! The fuzz targets without a fuzzer: their bodies, over the seeds and the committed corpus.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[expect(
    unreachable_pub,
    reason = "a library of its own where the fuzzers build it"
)]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use fuzz::{TARGETS, Target};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory().join("corpus").join(target.name)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// A panic names no input, so the input is named first.
fn run(target: &Target, name: &str, input: &[u8]) -> bool {
    println!("{} {name}", target.name);
    (target.run)(input)
}

#[test]
fn every_target_keeps_its_promises_on_its_corpus() {
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (path, input) in inputs {
            run(target, &path.to_string_lossy(), &input);
        }
    }
}

#[test]
fn every_target_keeps_its_promises_on_short_and_empty_inputs() {
    for target in TARGETS {
        run(target, "empty", &[]);
        for byte in 0..=u8::MAX {
            for length in [1, 2, 3, 33, 200] {
                run(target, "filled", &vec![byte; length]);
            }
        }
    }
}

/// A target whose genuine inputs are all refused would find nothing.
#[test]
fn every_target_accepts_a_genuine_input_and_not_everything() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let accepted = seeds.iter().enumerate();
        let accepted = accepted
            .filter(|(number, seed)| run(target, &format!("seed {number}"), seed))
            .count();
        assert!(accepted > 0, "{} accepts none of its seeds", target.name);
        assert!(accepted < seeds.len(), "{} accepts all", target.name);
    }
}

#[test]
fn the_fuzzers_are_those_of_the_table() {
    let table: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(table.len(), TARGETS.len());
    let manifest: toml::Table = fs::read_to_string(directory().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let bins = manifest["bin"].as_array().unwrap().iter();
    let bins: BTreeSet<String> = bins
        .map(|bin| bin["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(bins, table);
    let entries = |name: &str| -> BTreeSet<String> {
        fs::read_dir(directory().join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(entries("fuzz_targets"), table);
    assert_eq!(entries("corpus"), table);
    for name in &table {
        let file = directory().join(format!("fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(file).unwrap();
        assert_eq!(text.matches(&format!("\"{name}\"")).count(), 2, "{name}");
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fuzzing.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(rows, table);
}

/// The corpus is for what was hard to find, not for everything that was found.
#[test]
fn the_corpus_stays_small() {
    let all = TARGETS.iter().flat_map(corpus);
    let bytes: usize = all.map(|(_, input)| input.len()).sum();
    assert!(bytes < 1024 * 1024, "{bytes} bytes");
}

#[test]
fn seeds_are_written_for_the_fuzzer() {
    let directory = tempfile::tempdir().unwrap();
    // What a fuzzer does first; without the variable it writes nothing anywhere.
    fuzz::begin("target_uri");
    let target = fuzz::target("target_uri");
    target.write_seeds(directory.path(), None);
    let written = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(written, (target.seeds)().len());
}

mod real_devices {
    use super::{TARGETS, run};

    #[test]
    fn every_target_keeps_its_promises_on_the_data_of_real_devices() {
        let vectors = std::env::var_os("ASSAY_VECTORS").expect("ASSAY_VECTORS names the vectors");
        let mut count = 0;
        for target in TARGETS {
            for (number, seed) in (target.real_seeds)(vectors.as_ref()).iter().enumerate() {
                run(target, &format!("real {number}"), seed);
                count += 1;
            }
        }
        assert!(count > 100, "{count} inputs");
    }
}
