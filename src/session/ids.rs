//! Fresh identifiers: 128 random bits at a time, from a fast generator that the system's randomness seeded.
//!
//! Not for secrets: ids have to differ, not to be unguessable.

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Ids(SmallRng);

impl Ids {
    /// `seed`: 256 bits of the system's randomness, so that two gateways never share a sequence.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(SmallRng::from_seed(seed))
    }

    /// 128 bits that came nowhere before.
    pub fn fresh(&mut self) -> [u8; 16] {
        let (low, high) = (self.0.next_u64(), self.0.next_u64());
        (u128::from(low) | u128::from(high) << 64).to_le_bytes()
    }
}
