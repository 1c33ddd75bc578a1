//! Keys, tokens and proofs, attacked from outside. What should be accepted is made by an independent
//! encoder where there is one.

// So that the lints know every helper for test code.
mod access;
mod assertion;
mod challenge;
mod dpop;
mod keyring;
mod keys_command;
mod refresh;
mod support;
mod window;
