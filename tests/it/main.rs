//! Integration tests.

#[cfg(test)]
mod android_attacks;
#[cfg(test)]
mod android_forge;
#[cfg(test)]
mod android_vectors;
