//! What stands in for HTTP sessions in a build without the Cargo feature `http`: the same names, and no session can be
//! made, so that the rooms above need not know.

use std::sync::Arc;

use super::admin::AdminView;
use super::intake::{Intake, Now};
use super::tcp::Progress;
use crate::handoff::Receipt;
use crate::metrics::Responses;

/// Nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions;

/// No key is ever kept.
#[derive(Debug, Default)]
pub struct Window {
    pub counts: KeyCounts,
}

impl Window {
    pub fn bytes(&self) -> usize {
        0
    }
}

/// None are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    pub replayed: u64,
    pub joined: u64,
    pub conflicts: u64,
}

/// Nothing to share.
#[derive(Debug, Default)]
pub struct Web {
    pub body_room: usize,
    pub answers_held: usize,
    pub responses: Arc<Responses>,
    pub retry_after: u32,
    pub window: Window,
}

/// There is none.
#[derive(Debug)]
pub enum HttpSession {}

impl HttpSession {
    /// Never called: without the feature there is no HTTP listener.
    pub fn new(_: Arc<HttpOptions>, _: Option<Arc<str>>, _: Arc<Responses>, _: Now) -> Self {
        unreachable!("this build has no HTTP listener")
    }

    pub fn receive(&mut self, _: &[u8], _: bool, _: (u32, u16), _: &mut Intake<'_>) -> Progress {
        match *self {}
    }

    pub fn settle(&mut self, _: &Receipt, _: u64) -> Option<u64> {
        match *self {}
    }

    pub fn show(&mut self, _: &dyn AdminView, _: usize) {
        match *self {}
    }

    pub fn write_answers(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }

    pub fn is_settled(&self) -> bool {
        match *self {}
    }

    pub fn is_over(&self) -> bool {
        match *self {}
    }

    pub fn is_answer_bound(&self, _: usize) -> bool {
        match *self {}
    }

    pub fn drain(&mut self) {
        match *self {}
    }

    pub fn linger(&mut self, _: u64) {
        match *self {}
    }

    pub fn cut_off(&mut self, _: &mut usize) {
        match *self {}
    }

    pub fn due_us(&self) -> u64 {
        match *self {}
    }

    pub fn on_time(&mut self, _: u64, _: &mut usize) -> bool {
        match *self {}
    }

    pub fn book(&mut self, _: usize, _: &mut usize) {
        match *self {}
    }

    pub fn release_answers(&mut self, _: &mut usize) {
        match *self {}
    }

    pub fn release_body(&mut self, _: &mut usize) {
        match *self {}
    }

    pub fn untold(&self, _: usize) -> u64 {
        match *self {}
    }
}
