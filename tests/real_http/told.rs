//! What the senders were told of each event, one entry for each answer or missing answer.

use crate::mix::{EVENTS_MAX, Plan};
use crate::support::Answer;

/// What a sender knows of one event after one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// 200.
    Stored,
    /// 202.
    Accepted,
    /// Any refusal that says `not_stored`; `Rejected` if the event broke a rule.
    NotStored,
    Rejected,
    /// 504.
    Unknown,
    /// The request was written, and the connection ended before its answer.
    Unanswered,
}

/// Everything that was told of one event, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub stored: u8,
    pub accepted: u8,
    pub not_stored: u8,
    pub rejected: u8,
    pub unknown: u8,
    pub unanswered: u8,
}

impl Told {
    pub fn add(&mut self, telling: Telling) {
        *match telling {
            Telling::Stored => &mut self.stored,
            Telling::Accepted => &mut self.accepted,
            Telling::NotStored => &mut self.not_stored,
            Telling::Rejected => &mut self.rejected,
            Telling::Unknown => &mut self.unknown,
            Telling::Unanswered => &mut self.unanswered,
        } += 1;
    }

    pub fn attempts(&self) -> u8 {
        self.stored + self.accepted + self.not_stored + self.rejected + self.doubtful()
    }

    /// Attempts after which it may be stored, for all that its sender knows.
    pub fn doubtful(&self) -> u8 {
        self.unknown + self.unanswered
    }
}

/// By number of the event.
#[derive(Default)]
pub struct Account {
    told: Vec<Told>,
}

impl Account {
    pub fn add(&mut self, number: u64, telling: Telling) {
        let index = number as usize;
        if index >= self.told.len() {
            self.told.resize(index + EVENTS_MAX as usize, Told::default());
        }
        self.told[index].add(telling);
    }

    /// Every event that was sent.
    pub fn sent(&self) -> impl Iterator<Item = (u64, &Told)> {
        let sent = self.told.iter().enumerate().filter(|(_, told)| told.attempts() > 0);
        sent.map(|(number, told)| (number as u64, told))
    }

    pub fn sum(&self, of: impl Fn(&Told) -> u8) -> u64 {
        self.told.iter().map(|told| u64::from(of(told))).sum()
    }
}

/// What an answer says of each event of its request, in order.
///
/// # Panics
/// When it is no answer to this request, or says something else than its status does.
pub fn read(plan: &Plan, answer: &Answer) -> Vec<Telling> {
    let body = answer.json();
    let Some(items) = body["items"].as_array() else {
        let telling = telling(answer.status, body["outcome"].as_str(), body["code"].as_str());
        if matches!(telling, Telling::Stored | Telling::Accepted) {
            let id = crate::mix::id(plan.route, plan.request * EVENTS_MAX);
            assert!(!plan.is_batch() && body["event_id"] == id.as_str(), "{answer:?} to {plan:?}");
        }
        assert!(answer.status != 503 || answer.header("retry-after").is_some(), "{answer:?}");
        return vec![telling; plan.events as usize];
    };
    assert!(plan.is_batch() && items.len() as u64 == plan.events, "{answer:?} to {plan:?}");
    let each = |item: &serde_json::Value| {
        let status = item["status"].as_u64().expect("a status") as u16;
        telling(status, item["outcome"].as_str(), item["code"].as_str())
    };
    items.iter().map(each).collect()
}

fn telling(status: u16, outcome: Option<&str>, code: Option<&str>) -> Telling {
    match (status, outcome) {
        (200, None) => Telling::Stored,
        (202, None) => Telling::Accepted,
        (400, Some("not_stored")) => Telling::Rejected,
        (503, Some("not_stored")) => Telling::NotStored,
        (504, Some("unknown")) => Telling::Unknown,
        _ => panic!("status {status} with {outcome:?}, {code:?}"),
    }
}
