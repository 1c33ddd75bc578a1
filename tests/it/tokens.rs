//! Keys, tokens and proofs, attacked from outside.
