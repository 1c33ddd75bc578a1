//! The account of the demonstration: one line a step, with what it took.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use crate::time::monotonic_now;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Tells what happens and keeps count.
pub(super) struct Account<'a> {
    out: &'a mut (dyn Write + Send),
    colour: bool,
    began: Instant,
    steps: usize,
    wrong: usize,
}

impl<'a> Account<'a> {
    pub(super) fn new(out: &'a mut (dyn Write + Send), colour: bool) -> Self {
        Self {
            out,
            colour,
            began: monotonic_now(),
            steps: 0,
            wrong: 0,
        }
    }

    pub(super) fn begin(&mut self, address: SocketAddr) {
        let line = format!("Assay on {address}, embedded store, roots of this run only");
        self.line(&self.painted(BOLD, &line));
    }

    pub(super) fn chapter(&mut self, title: &str) {
        self.line("");
        self.line(&self.painted(BOLD, title));
    }

    /// A step that began at `began` and went right (with what was seen) or wrong (with why).
    pub(super) fn step(&mut self, began: Instant, what: &str, went: Result<String, String>) {
        self.steps = self.steps.saturating_add(1);
        let took = began.elapsed().as_secs_f64() * 1000.0;
        let took = self.painted(DIM, &format!("{took:7.1} ms"));
        match went {
            Ok(seen) => {
                let mark = self.painted(GREEN, "✓");
                let seen = self.painted(DIM, &seen);
                self.line(&format!("  {mark} {took}  {what}: {seen}"));
            }
            Err(why) => {
                self.wrong = self.wrong.saturating_add(1);
                let mark = self.painted(RED, "✗");
                self.line(&format!("  {mark} {took}  {what}: {why}"));
            }
        }
    }

    pub(super) fn end(&mut self) {
        let took = self.began.elapsed().as_secs_f64();
        let (steps, wrong) = (self.steps, self.wrong);
        self.line("");
        let line = if wrong == 0 {
            self.painted(
                GREEN,
                &format!("All {steps} steps went as they must, in {took:.2} s."),
            )
        } else {
            self.painted(
                RED,
                &format!("{wrong} of {steps} steps went otherwise than they must."),
            )
        };
        self.line(&line);
    }

    pub(super) const fn went_well(&self) -> bool {
        self.wrong == 0 && self.steps > 0
    }

    fn painted(&self, paint: &str, text: &str) -> String {
        if self.colour {
            format!("{paint}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }

    fn line(&mut self, text: &(impl Display + ?Sized)) {
        // A closed pipe takes away the reader, not the verdict.
        let _ = writeln!(self.out, "{text}");
    }
}
