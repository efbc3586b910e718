//! Tables of requests at given times, and the limiter against buckets that are filled drop by drop.

use super::Verdict::{Go, Wait};
use super::*;
use crate::admission::Network;

fn limiter(per_second: u32, burst: u32, capacity: usize) -> Limiter<u32> {
    Limiter::new(&LimiterOptions { per_second, burst, capacity })
}

/// Requests of one identity: (time, cost, answer).
fn check(per_second: u32, burst: u32, requests: &[(u64, u32, Verdict)]) {
    let mut limiter = limiter(per_second, burst, 4);
    for (at, (now_us, cost, verdict)) in requests.iter().enumerate() {
        assert_eq!(limiter.allow(7, *cost, *now_us), *verdict, "request {at} at {now_us}");
    }
}

fn wait(retry_after_us: u64) -> Verdict {
    Wait { retry_after_us }
}

#[test]
fn one_identity() {
    // A burst, then one token a millisecond.
    check(1_000, 2, &[(0, 1, Go), (0, 1, Go), (0, 1, wait(1_000)), (999, 1, wait(1)), (1_000, 1, Go)]);
    // A rest fills the bucket and no more than that.
    check(1_000, 2, &[(9_000_000, 2, Go), (18_000_000, 2, Go), (18_000_000, 1, wait(1_000))]);
    // A refusal costs nothing.
    check(1_000, 1, &[(0, 1, Go), (500, 1, wait(500)), (500, 1, wait(500)), (1_000, 1, Go)]);
    // A third of a second is no number of microseconds: the wait is rounded up, the rate is not.
    check(3, 1, &[(0, 1, Go), (0, 1, wait(333_334)), (333_333, 1, wait(1)), (333_334, 1, Go)]);
    check(
        3,
        2,
        &[(0, 2, Go), (333_334, 1, Go), (666_667, 1, Go), (1_000_000, 1, Go), (1_333_333, 1, wait(1))],
    );
    // Half a token is kept.
    check(1_000, 2, &[(0, 2, Go), (1_500, 1, Go), (2_000, 1, Go), (2_000, 1, wait(1_000))]);
    // Dearer than the bucket: from a full one, and paid for afterwards.
    check(1_000, 2, &[(0, 5, Go), (0, 1, wait(4_000)), (3_999, 1, wait(1)), (4_000, 1, Go)]);
    check(1_000, 2, &[(0, 1, Go), (0, 5, wait(1_000)), (1_000, 5, Go)]);
    // Free requests pass unless there is a debt.
    check(1_000, 1, &[(0, 1, Go), (0, 0, Go), (1_000, 2, Go), (1_000, 0, wait(1_000))]);
    // Nothing is divided by 0.
    check(0, 0, &[(0, 1, Go), (0, 1, wait(1_000_000)), (1_000_000, 1, Go)]);
    check(
        u32::MAX,
        u32::MAX,
        &[(0, u32::MAX, Go), (0, u32::MAX, wait(1_000_000)), (1_000_000, u32::MAX, Go)],
    );
    check(1, 1, &[(0, u32::MAX, Go), (0, u32::MAX, wait(4_294_967_295_000_000))]);
}

/// Time that goes back neither mints tokens nor takes them, and nobody waits for it to come again.
#[test]
fn the_clock_jumps() {
    const HOUR: u64 = 3_600_000_000;
    check(1_000, 1, &[(HOUR, 1, Go), (0, 1, wait(1_000)), (999, 1, wait(1)), (1_000, 1, Go)]);
    check(1_000, 2, &[(HOUR, 1, Go), (0, 1, Go), (0, 1, wait(1_000)), (1_000, 1, Go)]);
    check(1_000, 1, &[(0, 1, Go), (u64::MAX, 1, Go), (u64::MAX, 1, wait(1_000)), (5, 1, wait(1_000))]);
    let mut limiter = limiter(u32::MAX, 1, 4);
    for _ in 0..1_000 {
        assert_eq!(limiter.allow(1, 1, u64::MAX), Go, "as far as a clock goes, often");
        assert_eq!(limiter.allow(1, 1, 0), wait(1));
    }
}

#[test]
fn identities_do_not_touch_each_other() {
    let mut limiter = limiter(1, 1, 3);
    for identity in 0..3 {
        assert_eq!(limiter.allow(identity, 1, 0), Go);
        assert_eq!(limiter.allow(identity, 1, 0), wait(1_000_000));
    }
    assert_eq!((limiter.identities(), limiter.crowded_out()), (3, 0));
}

/// The victim of a full table is who was heard longest ago; its successor gets what is in the bucket.
#[test]
fn a_newcomer_inherits_the_bucket_that_rested_longest() {
    let mut limiter = limiter(1_000, 2, 2);
    assert_eq!(limiter.allow(1, 2, 0), Go);
    assert_eq!(limiter.allow(2, 9, 500), Go);
    assert_eq!(limiter.allow(1, 1, 500), wait(500), "refused, and heard");
    assert_eq!(limiter.allow(3, 1, 500), wait(1_000), "2's bucket: empty, its debt forgiven");
    assert_eq!(limiter.allow(4, 1, 1_000), Go, "1's bucket: one token since");
    assert_eq!(limiter.allow(3, 1, 1_500), Go, "3 has its place");
    assert_eq!((limiter.identities(), limiter.crowded_out()), (2, 2));
    assert_eq!(limiter.allow(5, 2, 5_000), Go, "a rested bucket is like a new one");
    assert_eq!(limiter.crowded_out(), 2);
}

/// Ten thousand names get no more than the few buckets that there are.
#[test]
fn many_addresses_gain_nothing() {
    let (capacity, burst, per_second) = (8, 10, 1_000);
    let mut limiter = limiter(per_second, burst, capacity);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut passed, mut now_us) = (0, 0);
    for _ in 0..200_000 {
        now_us += random.u64(..10);
        let cost = random.u32(1..=burst);
        if limiter.allow(random.u32(..10_000), cost, now_us) == Go {
            passed += u64::from(cost);
        }
    }
    let most = capacity as u64 * (u64::from(burst) + now_us * u64::from(per_second) / 1_000_000);
    assert!(passed <= most, "{passed} of {most}");
    assert!(passed > most / 2, "and they are not starved: {passed} of {most}");
}

/// A peer that comes now and then finds a token as long as the flood is slower than a table in a token's time.
#[test]
fn a_flood_of_addresses_does_not_shut_others_out() {
    let mut limiter = limiter(1_000, 100, 64);
    for step in 0..100_000_u32 {
        let now_us = u64::from(step) * 16; // 62 addresses a millisecond, each asking for all it can get
        let _ = limiter.allow(1_000 + step, 100, now_us);
        let _ = limiter.allow(1_000 + step, 1, now_us);
        if step % 500 == 499 {
            assert_eq!(limiter.allow(7, 1, now_us), Go, "step {step}");
        }
    }
    assert!(limiter.crowded_out() > 90_000);
}

/// The same by the book: every bucket is filled at every step, identities stand in a list by last use.
struct Naive {
    per_second: i128,
    burst: i128,
    capacity: usize,
    seen_us: u64,
    /// Newest first: identity and millionths of tokens, below 0 in debt.
    levels: Vec<(u32, i128)>,
}

impl Naive {
    fn allow(&mut self, identity: u32, cost: u32, now_us: u64) -> bool {
        let full = self.burst * 1_000_000;
        let gone = i128::from(now_us.saturating_sub(self.seen_us));
        self.seen_us = now_us;
        for (_, level) in &mut self.levels {
            *level = full.min(*level + gone * self.per_second);
        }
        let level = match self.levels.iter().position(|(known, _)| *known == identity) {
            Some(at) => self.levels.remove(at).1,
            None if self.levels.len() < self.capacity => full,
            None => self.levels.pop().unwrap().1.max(0),
        };
        let cost = i128::from(cost) * 1_000_000;
        let passes = level >= cost.min(full);
        self.levels.insert(0, (identity, if passes { level - cost } else { level }));
        passes
    }
}

#[test]
fn it_does_what_the_book_says() {
    let mut random = fastrand::Rng::with_seed(29);
    for round in 0..300 {
        let per_second = [1, 3, 7, 999, 1_000, 48_611, 1_000_000, 4_000_000_000][random.usize(..8)];
        let (burst, capacity) = (random.u32(1..=20), random.usize(1..=6));
        let mut limiter = limiter(per_second, burst, capacity);
        let mut naive = Naive {
            per_second: per_second.into(),
            burst: burst.into(),
            capacity,
            seen_us: 0,
            levels: Vec::new(),
        };
        let identities = random.u32(1..=8);
        let token_us = 1_000_000 / u64::from(per_second) + 1;
        let (mut now_us, mut passed, mut refused) = (random.u64(..1 << 50), 0, 0);
        for step in 0..1_000 {
            now_us = match random.u32(..100) {
                0 => random.u64(..1 << 50),
                1 => now_us.saturating_sub(random.u64(..token_us * 10)),
                2..40 => now_us,
                _ => now_us + random.u64(..=token_us),
            };
            let cost = if random.u32(..20) == 0 { random.u32(..burst * 3) } else { random.u32(..=2) };
            let identity = random.u32(..identities);
            let verdict = limiter.allow(identity, cost, now_us);
            let book = naive.allow(identity, cost, now_us);
            assert_eq!(verdict == Go, book, "round {round}, step {step}");
            match verdict {
                Go => passed += 1,
                Wait { retry_after_us } => {
                    // The time told is the shortest that does: once it is gone the request passes, not before.
                    assert!(retry_after_us > 0);
                    let early = now_us + retry_after_us - 1;
                    assert_ne!(limiter.allow(identity, cost, early), Go);
                    assert!(!naive.allow(identity, cost, early));
                    now_us += retry_after_us;
                    assert_eq!(limiter.allow(identity, cost, now_us), Go);
                    assert!(naive.allow(identity, cost, now_us));
                    refused += 1;
                }
            }
            assert_eq!(limiter.identities(), naive.levels.len());
        }
        assert!(passed > 0 && (refused > 0 || identities > 1), "round {round}");
    }
}

/// The figure in the module's text.
#[test]
fn the_bytes_are_what_the_text_says() {
    assert_eq!(Limiter::<Network>::bytes(&LimiterOptions::default()), 917_552);
}
