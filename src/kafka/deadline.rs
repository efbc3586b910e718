//! What happens to records inside the client library that have passed their deadline: it has to let go of them.
//!
//! It lets go of all or nothing: whenever it drops single records it numbers the others anew and sends them again,
//! also those that the broker has (docs/decisions/0009-one-delivery-deadline.md). So first nothing new goes in, then
//! what can still be stored gets a moment for it, then everything inside is given up, and then all go on. Pure: time
//! is an argument. The simulation runs this code.

use super::lanes::Lanes;

/// How long records of lanes that are in time may take to be stored, once others are late, in microseconds.
const DRAIN_US: u64 = 1_000_000;
/// The client library is told once more to let go after so long, and is given up itself after the second.
const AGAIN_US: u64 = 500_000;
const SILENT_US: u64 = 3_000_000;

/// What is to be done with the producer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// It lets go of everything inside, and sends nothing until told to go on.
    LetGo,
    GoOn,
    /// It never produces again: another takes its place.
    Rebuild,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Serving,
    /// Records are late: the others have until then.
    Draining { until_us: u64 },
    /// The client library owes a report for everything inside.
    LettingGo { again_us: u64, until_us: u64 },
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Deadline {
    phase: Phase,
}

impl Deadline {
    /// Looks after the deadline; `inside` records are in the producer. The lanes are closed while it is to be left
    /// alone. The answer is repeated until it has been followed.
    pub fn step(&mut self, lanes: &mut Lanes, inside: usize, is_fatal: bool, now_us: u64) -> Step {
        if is_fatal {
            lanes.close();
            return Step::Rebuild;
        }
        match self.phase {
            Phase::Serving if !lanes.find_late(now_us) => Step::Nothing,
            Phase::Serving => {
                lanes.close();
                self.drain(lanes, now_us, now_us + DRAIN_US)
            }
            // The late ones have ended after all, and nothing needs to be given up.
            Phase::Draining { .. } if !lanes.find_late(now_us) => {
                self.phase = Phase::Serving;
                lanes.open();
                Step::Nothing
            }
            Phase::Draining { until_us } => self.drain(lanes, now_us, until_us),
            Phase::LettingGo { .. } if inside == 0 => {
                self.start_anew(lanes);
                Step::GoOn
            }
            Phase::LettingGo { until_us, .. } if now_us >= until_us => Step::Rebuild,
            Phase::LettingGo { again_us, until_us } if now_us >= again_us => {
                self.phase = Phase::LettingGo { again_us: now_us + AGAIN_US, until_us };
                Step::LetGo
            }
            Phase::LettingGo { .. } => Step::Nothing,
        }
    }

    fn drain(&mut self, lanes: &Lanes, now_us: u64, until_us: u64) -> Step {
        if lanes.have_hope() && now_us < until_us {
            self.phase = Phase::Draining { until_us };
            return Step::Nothing;
        }
        self.phase = Phase::LettingGo { again_us: now_us + AGAIN_US, until_us: now_us + SILENT_US };
        Step::LetGo
    }

    /// Nothing is inside, or it is another producer.
    pub fn start_anew(&mut self, lanes: &mut Lanes) {
        self.phase = Phase::Serving;
        lanes.settle();
        lanes.open();
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Layout;
    use super::*;
    use crate::handoff::{Batch, Shape, Token, TopicId, murmur2, partition_of};

    const TIMEOUT_US: u64 = 64_000_000;
    const LATE_US: u64 = TIMEOUT_US + TIMEOUT_US / 64;

    /// A record of one of two lanes, accepted now.
    fn place(lanes: &mut Lanes, lane: u32, now_us: u64) {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let key = keys.iter().find(|key| partition_of(murmur2(key.as_bytes()), 2) == lane).unwrap();
        let mut batch = Batch::default();
        batch.arena().extend_from_slice(key.as_bytes());
        batch.commit(Token::nobody(0), Shape::keyed(TopicId(0), 1, 0), now_us);
        let since_us = lanes.since_us(now_us, now_us);
        lanes.place(&batch, &batch.records()[0], since_us);
    }

    /// Two lanes of two brokers, both up.
    fn lanes() -> (Lanes, Deadline) {
        let mut lanes = Lanes::new(1, 100, TIMEOUT_US);
        lanes.apply(&Layout { leaders: vec![vec![1, 2]], up: vec![1, 2] });
        (lanes, Deadline::default())
    }

    #[test]
    fn a_fatal_producer_is_given_up_at_once() {
        let (mut lanes, mut deadline) = lanes();
        place(&mut lanes, 0, 1);
        assert_eq!(deadline.step(&mut lanes, 1, false, 1), Step::Nothing);
        assert_eq!(deadline.step(&mut lanes, 1, true, 1), Step::Rebuild);
        assert!(lanes.is_closed());
        deadline.start_anew(&mut lanes);
        assert!(!lanes.is_closed());
    }

    /// The lane that is in time gets a moment, and no more; nothing new goes in meanwhile.
    #[test]
    fn the_others_get_a_moment() {
        let (mut lanes, mut deadline) = lanes();
        place(&mut lanes, 0, 0);
        place(&mut lanes, 1, LATE_US - 1);
        assert_eq!(deadline.step(&mut lanes, 2, false, LATE_US - 1), Step::Nothing);
        assert!(!lanes.is_closed());
        assert_eq!(deadline.step(&mut lanes, 2, false, LATE_US), Step::Nothing);
        place(&mut lanes, 1, LATE_US);
        assert_eq!((lanes.held_records(), lanes.next_release(0, true)), (1, None));
        assert_eq!(deadline.step(&mut lanes, 2, false, LATE_US + DRAIN_US - 1), Step::Nothing);
        assert_eq!(deadline.step(&mut lanes, 2, false, LATE_US + DRAIN_US), Step::LetGo);
        assert_eq!(lanes.late(), [true, false]);

        lanes.ended(TopicId(0), 0);
        lanes.ended(TopicId(0), 1);
        assert!(lanes.is_closed());
        assert_eq!(deadline.step(&mut lanes, 0, false, LATE_US + DRAIN_US), Step::GoOn);
        assert_eq!((lanes.is_closed(), lanes.next_release(0, true)), (false, Some(1)));
        assert_eq!(deadline.step(&mut lanes, 0, false, LATE_US + DRAIN_US), Step::Nothing);
    }

    #[test]
    fn nobody_waits_where_nothing_can_be_stored() {
        let (mut lanes, mut deadline) = lanes();
        place(&mut lanes, 0, 0);
        place(&mut lanes, 1, LATE_US);
        lanes.mark_down(Some(2));
        assert_eq!(deadline.step(&mut lanes, 2, false, LATE_US), Step::LetGo);
    }

    /// The answers come while the others drain: nothing needs to be given up.
    #[test]
    fn late_records_may_end_after_all() {
        let (mut lanes, mut deadline) = lanes();
        place(&mut lanes, 0, 0);
        place(&mut lanes, 1, LATE_US);
        assert_eq!(deadline.step(&mut lanes, 2, false, LATE_US), Step::Nothing);
        assert!(lanes.is_closed());
        lanes.ended(TopicId(0), 0);
        for now_us in [LATE_US + 1, LATE_US + DRAIN_US] {
            assert_eq!(deadline.step(&mut lanes, 1, false, now_us), Step::Nothing);
            assert!(!lanes.is_closed());
        }
    }

    /// A client library that keeps records is asked again, and then left.
    #[test]
    fn a_silent_producer_is_given_up() {
        let (mut lanes, mut deadline) = lanes();
        place(&mut lanes, 0, 0);
        assert_eq!(deadline.step(&mut lanes, 1, false, LATE_US), Step::LetGo);
        let mut said = Vec::new();
        for now_us in (LATE_US..LATE_US + SILENT_US).step_by(100_000) {
            said.push(deadline.step(&mut lanes, 1, false, now_us));
        }
        assert_eq!(said.iter().filter(|step| **step == Step::LetGo).count(), 5);
        assert!(said.iter().all(|step| matches!(step, Step::LetGo | Step::Nothing)));
        for _ in 0..2 {
            assert_eq!(deadline.step(&mut lanes, 1, false, LATE_US + SILENT_US), Step::Rebuild);
        }
    }
}
