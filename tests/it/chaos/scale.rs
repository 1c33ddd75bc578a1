//! How long a run is, where its dice come from, and the row that tells how it went.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use assay::secret::random;
use assay::time::monotonic_now;

use super::checker::{Lives, check};
use super::history::{Answer, Recorder};

/// What the applications of the test services say, in seconds.
pub(super) const LIVES: Lives = Lives {
    grace: 600,
    idle: 7 * 86_400,
    absolute: 30 * 86_400,
};

/// Every run, as docs/chaos.md lists them.
pub(super) const RUNS: &[&str] = &[
    "sixteen refreshes at once",
    "1 to 30 % of requests and of answers lost",
    "killed, appendfsync always",
    "killed, appendfsync everysec",
    "hanging",
    "slow, now and then beyond the deadline",
    "full, without eviction",
    "answers thrown away, then connections cut",
    "SCRIPT FLUSH",
    "FLUSHALL",
    "primary killed, a replica behind takes over",
    "primary killed under Sentinels, a replica cut off",
    "cluster, a primary killed",
    "instance killed during a revocation",
];

/// A run in rounds: short, unless the environment asks for more.
pub(super) struct Run {
    name: &'static str,
    store: &'static str,
    seed: u64,
    round: u32,
    rounds: u32,
    until: Option<Instant>,
    operations: usize,
    violations: usize,
    recovered: Vec<Duration>,
    notes: BTreeMap<&'static str, u64>,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// For how long a run in the long form goes on.
const SECONDS: &str = "ASSAY_CHAOS_SECONDS";
/// How many rounds of one that is counted.
const ROUNDS: &str = "ASSAY_CHAOS_ROUNDS";
/// The seed of the first round.
const SEED: &str = "ASSAY_SEED";

/// What the environment may say.
pub(super) const VARIABLES: [&str; 3] = [SECONDS, ROUNDS, SEED];

/// Long runs go one after the other: each needs the machine for itself.
static ROW: Mutex<()> = Mutex::new(());

impl Run {
    /// A run that is counted: so many rounds, or as many as are asked for.
    pub(super) fn counted(name: &'static str, store: &'static str, short: u32) -> Self {
        let rounds = number(ROUNDS).map_or(short, |rounds| u32::try_from(rounds).unwrap());
        Self::new(name, store, rounds, None)
    }

    /// A run that goes on for a time when one is asked for, else so many rounds.
    pub(super) fn timed(name: &'static str, store: &'static str, short: u32) -> Self {
        let until = number(SECONDS).map(|seconds| monotonic_now() + Duration::from_secs(seconds));
        Self::new(name, store, short, until)
    }

    fn new(name: &'static str, store: &'static str, rounds: u32, until: Option<Instant>) -> Self {
        assert!(RUNS.contains(&name), "{name} is not in the table of runs");
        // The short form has the same dice every time.
        let long = number(SECONDS).or(number(ROUNDS)).is_some();
        let drawn = || u64::from_be_bytes(random().unwrap()) >> 16;
        let begin = || if long { drawn() } else { 1 };
        Self {
            name,
            store,
            seed: number(SEED).unwrap_or_else(begin),
            round: 0,
            rounds,
            until,
            operations: 0,
            violations: 0,
            recovered: Vec::new(),
            notes: BTreeMap::new(),
        }
    }

    /// Whether nobody asked for more.
    pub(super) const fn is_short(&self) -> bool {
        self.until.is_none()
    }

    /// The dice of the next round, while there is one.
    pub(super) fn next(&mut self) -> Option<Dice> {
        let over = match self.until {
            Some(until) => self.round >= 1 && monotonic_now() >= until,
            None => self.round >= self.rounds,
        };
        if over {
            return None;
        }
        let dice = Dice::new(self.seed + u64::from(self.round));
        self.round += 1;
        Some(dice)
    }

    /// Holds the history of a round against the promises.
    pub(super) fn judge(&mut self, history: &Recorder) {
        let entries = history.entries();
        self.operations += entries.len();
        let violations = check(&entries, LIVES);
        let answered = |what: fn(&Answer) -> bool| entries.iter().any(|entry| what(&entry.answer));
        assert!(answered(|answer| matches!(answer, Answer::Refreshed(..))));
        self.violations += violations.len();
        assert!(
            violations.is_empty(),
            "{} promises broken in round {} of {} over {}: {violations:#?}",
            violations.len(),
            self.round,
            self.name,
            self.store,
        );
    }

    /// Counts what was decided without a history.
    pub(super) fn checked(&mut self, operations: usize) {
        self.operations += operations;
    }

    pub(super) fn recovered(&mut self, after: Option<Duration>) {
        let after = after.expect("somebody is served again within minutes");
        self.recovered.push(after);
    }

    /// Counts what the row shall show beside the rest.
    pub(super) fn note(&mut self, what: &'static str, count: u64) {
        *self.notes.entry(what).or_default() += count;
    }
}

/// The row is printed, whether the run went well or not; and where not, how to repeat it.
impl Drop for Run {
    fn drop(&mut self) {
        let _row = ROW.lock();
        if std::thread::panicking() {
            let last = self.seed + u64::from(self.round.saturating_sub(1));
            println!("to repeat it: {SEED}={last} (begins with the round that failed)");
        }
        self.recovered.sort_unstable();
        let middle = self.recovered.get(self.recovered.len() / 2);
        let recovery = match (middle, self.recovered.last()) {
            (Some(middle), Some(longest)) => {
                format!("{} / {} ms", middle.as_millis(), longest.as_millis())
            }
            _ => "-".to_owned(),
        };
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        println!(
            "| {} | {} | {} | {} | {} | {recovery} | {} |",
            self.name,
            self.store,
            self.round,
            self.operations,
            self.violations,
            notes.join(", ")
        );
    }
}

/// Dice that fall the same again for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Other dice, for another task.
    pub(super) fn split(&mut self) -> Self {
        Self(self.roll())
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `sides`.
    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
