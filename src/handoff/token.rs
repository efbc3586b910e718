//! The 64 bits that travel with a record through librdkafka and come back with its report.
//!
//! No allocation and no table: either the record's sender wants to be told, then the token is its address,
//! or it does not, then the bits carry the moment of acceptance for the latency histogram.

const ADDRESSED: u64 = 1 << 63;
const SLOT_BITS: u32 = 20;
const GENERATION_BITS: u32 = 15;
const SEQUENCE_BITS: u32 = 28;

/// Connection slots that a token can name.
pub const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// Where an outcome goes; see [`Token::target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nobody waits; microseconds on the gateway's clock at acceptance.
    Nobody { accepted_us: u64 },
    /// The holder of this slot waits; a stale generation means that it is gone.
    Peer(Address),
}

/// A waiting peer's record: slot, the slot's generation, and the peer's own number for the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub slot: u32,
    /// Wraps at 2^15.
    pub generation: u16,
    /// Wraps at 2^28: far beyond what may be in flight at once.
    pub sequence: u32,
}

impl Address {
    /// Sequence numbers compare modulo this.
    pub const SEQUENCE_MODULUS: u64 = 1 << SEQUENCE_BITS;
    /// Generations compare modulo this.
    pub const GENERATION_MODULUS: u32 = 1 << GENERATION_BITS;
}

impl Token {
    pub fn nobody(accepted_us: u64) -> Self {
        Self(accepted_us & !ADDRESSED)
    }

    /// Higher bits than the fields hold are cut off: callers number modulo the constants of [`Address`].
    pub fn peer(address: Address) -> Self {
        let slot = u64::from(address.slot) & (MAX_SLOTS as u64 - 1);
        let generation = u64::from(address.generation) & ((1 << GENERATION_BITS) - 1);
        let sequence = u64::from(address.sequence) & ((1 << SEQUENCE_BITS) - 1);
        Self(ADDRESSED | slot << (GENERATION_BITS + SEQUENCE_BITS) | generation << SEQUENCE_BITS | sequence)
    }

    pub fn target(self) -> Target {
        if self.0 & ADDRESSED == 0 {
            return Target::Nobody { accepted_us: self.0 };
        }
        Target::Peer(Address {
            slot: (self.0 >> (GENERATION_BITS + SEQUENCE_BITS)) as u32 & (MAX_SLOTS as u32 - 1),
            generation: (self.0 >> SEQUENCE_BITS) as u16 & ((1 << GENERATION_BITS) - 1),
            sequence: self.0 as u32 & ((1 << SEQUENCE_BITS) - 1),
        })
    }

    /// The bits as the client library carries them.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_comes_back() {
        for (slot, generation, sequence) in
            [(0, 0, 0), (1, 2, 3), ((1 << 20) - 1, (1 << 15) - 1, (1 << 28) - 1)]
        {
            let address = Address { slot, generation, sequence };
            assert_eq!(Token::from_bits(Token::peer(address).to_bits()).target(), Target::Peer(address));
        }
        assert_eq!(Token::nobody(77).target(), Target::Nobody { accepted_us: 77 });
    }
}
