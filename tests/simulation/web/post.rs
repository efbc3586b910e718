//! One request with events, as the oracle knows it.

use sluice::handoff::TopicId;

use super::body::{Body, Meant, Shape};
use crate::truth::Truth;

/// When its sender is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    None,
    Queued,
    Delivered,
}

impl Ack {
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Queued => "queued",
            Self::Delivered => "delivered",
        }
    }
}

/// What one event of a request is.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Its number in [`Truth`]: each request has its own, also for events of a body that came before.
    Good(usize),
    Bad(u16, &'static str),
}

#[derive(Clone, Debug)]
pub struct Post {
    pub topic: TopicId,
    pub body: usize,
    pub is_batch: bool,
    pub items: Vec<What>,
    /// Refused as a whole with this status and code, if not for another reason.
    pub fault: Option<(u16, &'static str)>,
    pub ack: Ack,
    /// How long its sender waits for delivery.
    pub timeout_us: u64,
    /// Number of its `Idempotency-Key`.
    pub key: Option<usize>,
}

impl Post {
    /// A connection is about to send this body; the request's number.
    pub fn expect(conn: usize, body: &Body, ack: Ack, timeout_us: u64, truth: &mut Truth) -> usize {
        let number = truth.posts.len();
        let items = body.items.iter().enumerate().filter(|_| body.fault.is_none());
        let items = items
            .map(|(index, meant)| match *meant {
                Meant::Good(key) => What::Good(truth.expect(conn, body.topic, key, Some((number, index)))),
                Meant::Bad(status, code) => What::Bad(status, code),
            })
            .collect();
        truth.posts.push(Self {
            topic: body.topic,
            body: body.number,
            is_batch: body.shape != Shape::Single,
            items,
            fault: body.fault,
            ack,
            timeout_us,
            key: body.key,
        });
        number
    }

    pub fn good(&self, index: usize) -> Option<usize> {
        match self.items.get(index) {
            Some(What::Good(id)) => Some(*id),
            _ => None,
        }
    }

    /// Numbers of its good events.
    pub fn goods(&self) -> impl Iterator<Item = usize> {
        (0..self.items.len()).filter_map(|index| self.good(index))
    }

    pub fn key_text(&self) -> Option<String> {
        self.key.map(key_text)
    }

    /// A retry of one is the other: the same route, sender and key. The body is another matter.
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.key.is_some() && (self.key, self.topic) == (other.key, other.topic)
    }

    /// Its sender is told what became of its records, and they never become dead letters.
    pub fn is_followed(&self) -> bool {
        self.ack == Ack::Delivered || self.key.is_some()
    }
}

pub fn key_text(key: usize) -> String {
    format!("retry of {key}")
}
