//! A token bucket for each identity, in a table that never grows.
//!
//! GCRA, the generic cell rate algorithm: a bucket is one number, the moment at which it will be full. A request moves
//! it ahead by its price; further ahead than a whole bucket takes to fill is refused. That is a token bucket to the
//! last fraction of a token, without a timer. Moments are counted in millionths of a token, which divides neither time
//! nor rate and so rounds nothing; 128 bits of them outlast every clock.
//!
//! A request that costs more than a bucket holds would never pass. It passes from a full bucket, which then owes the
//! rest: the rate holds over time, whatever requests cost.
//!
//! **Time** only counts where it goes forward. A jump back counts as no time at all, and what follows it counts from
//! there: nobody waits for an hour that comes a second time.
//!
//! **A full table** gives a newcomer the bucket of the identity that was heard longest ago (refused requests count as
//! heard), and the bucket keeps its level, except that it owes nothing. What many addresses can do to that:
//! - Grow it: no. Its bytes are [`Limiter::bytes`], 56 an identity: 917,552 for the default of 16,384 networks.
//! - Get a fresh bucket by having the spent one forgotten: no. Tokens come with time and never with a name; all
//!   identities together get what `capacity` buckets hold and gain, however many they are.
//! - Empty a victim's bucket: no. While the victim is in the table nobody else draws from its bucket. One that was
//!   crowded out gets the bucket that rested longest. It finds no token there only if a whole table of addresses was
//!   heard since that bucket had its last token, that is within the time of one token: 16,384 addresses in a
//!   millisecond at the defaults.
//! - With few tokens a second that is within reach (`rate` x `capacity` requests a second), and so is keeping all
//!   buckets in debt by dear requests. A newcomer then waits for its first tokens, which is the price of a limit that
//!   holds; more capacity makes it dearer for the attacker. [`Limiter::crowded_out`] tells.

use std::hash::Hash;

use super::table::Table;

/// Moments in one token.
const TOKEN: u128 = 1_000_000;

/// How fast each identity may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimiterOptions {
    /// Tokens a second (RATE_LIMIT_RPS); 0 counts as 1.
    pub per_second: u32,
    /// Tokens that a rested identity has at once (RATE_LIMIT_BURST); 0 counts as 1.
    pub burst: u32,
    /// Identities that are told apart.
    pub capacity: usize,
}

impl Default for LimiterOptions {
    fn default() -> Self {
        Self { per_second: 1_000, burst: 100, capacity: 16_384 }
    }
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    Go,
    /// Refused, at no cost to the identity. The same request passes after this time if no other passes before it.
    Wait {
        retry_after_us: u64,
    },
}

/// Token buckets by identity: an address as [`Network`](super::Network), a token, a key.
#[derive(Debug)]
pub struct Limiter<K> {
    /// When each bucket is full.
    buckets: Table<K, u128>,
    /// Moments in a microsecond.
    rate: u64,
    burst: u32,
    /// Moments that have gone by.
    now: u128,
    seen_us: u64,
    crowded_out: u64,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    pub fn new(options: &LimiterOptions) -> Self {
        Self {
            buckets: Table::new(options.capacity),
            rate: options.per_second.max(1).into(),
            burst: options.burst.max(1),
            now: 0,
            seen_us: 0,
            crowded_out: 0,
        }
    }

    /// Bytes that a limiter takes, at most and from the start.
    pub fn bytes(options: &LimiterOptions) -> usize {
        Table::<K, u128>::bytes(options.capacity)
    }

    /// Whether a request of `identity` may pass; takes `cost` tokens if so.
    pub fn allow(&mut self, identity: K, cost: u32, now_us: u64) -> Verdict {
        self.advance(now_us);
        let (now, burst) = (self.now, self.burst);
        let empty = now + u128::from(burst) * TOKEN;
        let bucket = self.bucket(identity, empty);
        let full_at = now.max(*bucket);
        // A request dearer than the bucket asks for a full one.
        let ahead = full_at + u128::from(cost.min(burst)) * TOKEN;
        if ahead <= empty {
            *bucket = full_at + u128::from(cost) * TOKEN;
            return Verdict::Go;
        }
        // No more than the debt of one request and a bucket: 53 bits.
        let missing = (ahead - empty) as u64;
        Verdict::Wait { retry_after_us: missing.div_ceil(self.rate) }
    }

    /// Identities in the table; a gauge.
    pub fn identities(&self) -> usize {
        self.buckets.len()
    }

    /// How often an identity lost a bucket that was not full yet. More than a few mean that the capacity is too small
    /// for the peers, or that somebody has many addresses.
    pub fn crowded_out(&self) -> u64 {
        self.crowded_out
    }

    fn advance(&mut self, now_us: u64) {
        self.now += u128::from(now_us.saturating_sub(self.seen_us)) * u128::from(self.rate);
        self.seen_us = now_us;
    }

    fn bucket(&mut self, identity: K, empty: u128) -> &mut u128 {
        let known = self.buckets.find(&identity);
        if let Some(place) = known {
            self.buckets.touch(place);
            return self.buckets.value(place);
        }
        if let Some(place) = self.buckets.insert(identity) {
            return self.buckets.value(place);
        }
        let place = self.buckets.take_over_oldest(identity);
        let bucket = self.buckets.value(place);
        self.crowded_out += u64::from(*bucket > self.now);
        *bucket = empty.min(*bucket);
        bucket
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
