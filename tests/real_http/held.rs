//! Where every event is: read back from Kafka, from the folder of dead letters and from the gateways' logs.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::mix::{self, EVENTS_MAX, Plan, Route};
use crate::support::{Record, command, read_each};

pub const EVENTS: &str = "web-events";
pub const PLAYERS: &str = "web-players";
pub const LETTERS: &str = "web-letters";

#[derive(Default)]
pub struct Held {
    /// Records of each event in its topic.
    pub stored: HashMap<u64, u8>,
    /// Letters of each event in the topic for such, and in the folder.
    pub in_topic: HashMap<u64, u8>,
    pub in_folder: HashMap<u64, u8>,
    /// Named in a log.
    pub lost: HashSet<u64>,
    pub unknown: HashSet<u64>,
}

impl Held {
    /// Reads all topics and the folder.
    ///
    /// # Panics
    /// When a record is not what its sender wrote, has the wrong key or headers, or lies in another's topic.
    pub fn read(bootstrap: &str, folder: &Path) -> Held {
        let mut held = Held::default();
        held.read_topics(bootstrap);
        read_each(bootstrap, LETTERS, |record| {
            let number = mix::number_in(&record.value);
            let route = Plan::of(number / EVENTS_MAX).route;
            let source = if route == Route::Events { EVENTS } else { PLAYERS };
            assert_eq!(header(&record, "dlq.source_topic"), Some(source), "{record:?}");
            check(&record, number, 6);
            *held.in_topic.entry(number).or_default() += 1;
        });
        held.in_folder = folder_numbers(folder);
        held
    }

    fn read_topics(&mut self, bootstrap: &str) {
        for (topic, route) in [(EVENTS, Route::Events), (PLAYERS, Route::Players)] {
            read_each(bootstrap, topic, |record| {
                let number = mix::number_in(&record.value);
                assert_eq!(Plan::of(number / EVENTS_MAX).route, route, "{record:?}");
                check(&record, number, 0);
                *self.stored.entry(number).or_default() += 1;
            });
        }
    }

    /// The same after letters were sent again: only what is in the topics.
    pub fn stored_now(bootstrap: &str) -> HashMap<u64, u8> {
        let mut held = Held::default();
        held.read_topics(bootstrap);
        held.stored
    }

    /// Takes in what a gateway's log names.
    pub fn read_log(&mut self, lines: &[String]) {
        for line in lines {
            let id = |event: &str| line.split_once(event)?.1.split('"').next().map(mix::number_of);
            self.lost.extend(id("event.lost id=\""));
            self.unknown.extend(id("event.unknown id=\""));
        }
    }

    /// Events that are dead letters, wherever.
    pub fn letters(&self) -> HashSet<u64> {
        self.in_topic.keys().chain(self.in_folder.keys()).copied().collect()
    }
}

/// Key and headers of a record, which has so many more as a dead letter.
#[track_caller]
fn check(record: &Record, number: u64, more: usize) {
    let plan = Plan::of(number / EVENTS_MAX);
    let is_player = plan.route == Route::Players;
    let key = if is_player { format!("p-{}", number % 1000) } else { String::new() };
    assert_eq!((record.has_key, &record.key[..]), (is_player, key.as_bytes()), "{record:?}");
    let own = usize::from(plan.has_key) + if is_player { 2 } else { 0 };
    assert_eq!(record.headers.len(), own + more, "{record:?}");
    if is_player {
        assert_eq!(header(record, "event_id"), Some(mix::id(plan.route, number).as_str()), "{record:?}");
    }
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// What `sluice dead-letters list` shows; exit code 0 says that nothing of it is damaged.
fn folder_numbers(folder: &Path) -> HashMap<u64, u8> {
    let arguments = ["dead-letters", "list", "--json", "--dir", folder.to_str().unwrap()];
    let output = command(&arguments, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut numbers = HashMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        *numbers.entry(mix::number_of(letter["id"].as_str().unwrap())).or_default() += 1;
    }
    numbers
}
