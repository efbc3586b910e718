//! What stands in for dead letters of refused messages in a build without the Cargo feature `http`, which brings dead
//! letters: there are none.

use super::intake::Intake;
use crate::event::Rejection;
use crate::handoff::TopicId;

/// None are made.
#[derive(Debug)]
pub struct Rejected;

impl Rejected {
    pub fn new(_: Vec<String>) -> Self {
        Self
    }

    pub fn left_out(&self) -> u64 {
        0
    }
}

impl Intake<'_> {
    pub(super) fn dead_letter(&mut self, _: Rejection, _: &[u8], _: TopicId) -> bool {
        false
    }
}
