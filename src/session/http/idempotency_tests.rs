//! The window against tables, and against a model that forgets nothing too early.

use std::collections::HashMap;

use super::*;
use crate::event::Rejection;
use crate::handoff::Cause;

const MINUTE_US: u64 = 60_000_000;
const WAITER: Waiter = Waiter { slot: 3, generation: 4 };

fn window(bytes: usize) -> Window {
    Window::new(&IdempotencyOptions { window: Duration::from_secs(60), bytes })
}

fn items(fates: &[Fate]) -> Vec<Item> {
    fates.iter().map(|fate| Item::new(None, *fate)).collect()
}

/// Room for so many single events.
fn room_for(entries: usize) -> usize {
    entries * (ENTRY_BYTES + ITEM_BYTES + WAITER_BYTES)
}

/// A request under `key` with one body for all, in flight.
fn open(window: &mut Window, key: &[u8], fates: &[Fate], now_us: u64) -> Option<Ticket> {
    let (name, body) = (window.digest(&[key]), window.digest(&[b"body"]));
    assert!(matches!(window.find(name, body, now_us), Found::Nothing));
    let ticket = window.open(name, body, fates.len(), now_us)?;
    window.fill(ticket, items(fates))?;
    Some(ticket)
}

fn settle(window: &mut Window, ticket: Ticket, index: usize, outcome: Outcome, now_us: u64) -> Option<Ended> {
    let to = window.address(ticket, index, true);
    window.settle(&Receipt::new(to, outcome, Cause::Delivered), now_us).expect("it is open").ended
}

fn state(window: &mut Window, key: &[u8], now_us: u64) -> &'static str {
    let (name, body) = (window.digest(&[key]), window.digest(&[b"body"]));
    match window.find(name, body, now_us) {
        Found::Nothing => "nothing",
        Found::Conflict => "conflict",
        Found::Open { .. } => "open",
        Found::Kept(_) => "kept",
    }
}

#[test]
fn a_key_is_kept_only_once_all_is_stored_or_refused_for_good() {
    use Outcome::{NotStored, Rejected, Stored, Unknown};
    let refused = Fate::Refused(Rejection::NotJson);
    let table: [(&[Fate], &[Outcome], &str); 9] = [
        (&[Fate::Open], &[Stored], "kept"),
        (&[Fate::Open], &[NotStored], "nothing"),
        (&[Fate::Open], &[Unknown], "nothing"),
        (&[Fate::Open], &[Rejected], "nothing"),
        (&[Fate::Open, Fate::Open], &[Stored, Stored], "kept"),
        (&[Fate::Open, Fate::Open], &[Stored, NotStored], "nothing"),
        (&[Fate::Open, Fate::Open], &[NotStored, Stored], "nothing"),
        (&[Fate::Open, refused], &[Stored], "kept"),
        (&[Fate::Open, Fate::NoRoom], &[Stored], "nothing"),
    ];
    for (fates, outcomes, expected) in table {
        let mut window = window(1 << 20);
        let ticket = open(&mut window, b"k", fates, 0).unwrap();
        window.wait(ticket, WAITER);
        for (index, outcome) in outcomes.iter().enumerate() {
            assert_eq!(state(&mut window, b"k", 1), "open", "{fates:?} {outcomes:?} at {index}");
            let ended = settle(&mut window, ticket, index, *outcome, 1);
            assert_eq!(ended.is_some(), index + 1 == outcomes.len());
            if let Some(ended) = ended {
                assert_eq!((ended.items.len(), ended.waiters), (fates.len(), vec![WAITER]));
                assert_eq!(ended.not_stored, outcomes.iter().filter(|o| **o == NotStored).count() as u64);
            }
        }
        assert_eq!(state(&mut window, b"k", 1), expected, "{fates:?} {outcomes:?}");
        assert_eq!(window.bytes() == 0, expected == "nothing", "nothing is left behind");
    }
    let mut window = window(1 << 20);
    assert_eq!(open(&mut window, b"k", &[refused], 0), None, "nothing was taken");
    assert_eq!((state(&mut window, b"k", 0), window.bytes()), ("nothing", 0));
}

#[test]
fn the_window_begins_when_it_is_stored() {
    let mut window = window(1 << 20);
    let ticket = open(&mut window, b"k", &[Fate::Open], 0).unwrap();
    assert_eq!(state(&mut window, b"k", 10 * MINUTE_US), "open", "in flight it never leaves");
    settle(&mut window, ticket, 0, Outcome::Stored, 10 * MINUTE_US);
    assert_eq!(state(&mut window, b"k", 11 * MINUTE_US - 1), "kept");
    assert_eq!(state(&mut window, b"k", 11 * MINUTE_US), "nothing");
    assert_eq!(window.bytes(), 0);
}

#[test]
fn another_body_is_a_conflict_while_in_flight_and_once_stored() {
    let mut window = window(1 << 20);
    let ticket = open(&mut window, b"k", &[Fate::Open], 0).unwrap();
    let (name, other) = (window.digest(&[b"k"]), window.digest(&[b"other"]));
    assert!(matches!(window.find(name, other, 0), Found::Conflict));
    settle(&mut window, ticket, 0, Outcome::Stored, 0);
    assert!(matches!(window.find(name, other, 0), Found::Conflict));
    assert_eq!(window.counts, KeyCounts { conflicts: 2, ..KeyCounts::default() });
}

#[test]
fn the_oldest_makes_room_and_nobody_in_flight_does() {
    let mut window = window(room_for(2));
    let keep = |window: &mut Window, key: &[u8], now_us| {
        let ticket = open(window, key, &[Fate::Open], now_us).unwrap();
        settle(window, ticket, 0, Outcome::Stored, now_us);
    };
    keep(&mut window, b"a", 1);
    keep(&mut window, b"b", 2);
    keep(&mut window, b"c", 3);
    let states = [b"a", b"b", b"c"].map(|key| state(&mut window, key, 3));
    assert_eq!(states, ["nothing", "kept", "kept"]);
    let ticket = open(&mut window, b"d", &[Fate::Open], 4).unwrap();
    assert!(open(&mut window, b"e", &[Fate::Open], 4).is_some());
    assert_eq!(open(&mut window, b"f", &[Fate::Open], 4), None, "all room is in flight");
    assert!(!window.join(ticket, WAITER), "nor is there room for one who waits");
    assert_eq!((state(&mut window, b"d", 4), state(&mut window, b"f", 4)), ("open", "nothing"));
    let too_many = vec![Fate::Open; 1_000];
    assert_eq!(open(&mut window, b"g", &too_many, 4), None);
}

#[test]
fn those_who_wait_count_until_it_is_over() {
    let mut window = window(room_for(3));
    let ticket = open(&mut window, b"k", &[Fate::Open], 0).unwrap();
    let alone = window.bytes();
    let mut joined = 0;
    while window.join(ticket, WAITER) {
        joined += 1;
        assert!(window.bytes() == alone + joined * (ITEM_BYTES + WAITER_BYTES));
    }
    assert!(joined >= 2 && window.bytes() <= room_for(3));
    let ended = settle(&mut window, ticket, 0, Outcome::Stored, 0).unwrap();
    assert_eq!((ended.waiters.len(), window.counts.joined), (joined, joined as u64));
    assert_eq!(window.bytes(), ENTRY_BYTES + ITEM_BYTES, "only what a retry is told");
}

#[test]
fn parts_of_a_digest_do_not_run_into_each_other() {
    let window = window(1 << 20);
    assert_eq!(window.digest(&[b"ab", b"c"]), window.digest(&[b"ab", b"c"]));
    assert_ne!(window.digest(&[b"ab", b"c"]), window.digest(&[b"a", b"bc"]));
    assert_ne!(window.digest(&[b"ab"]), window.digest(&[b"ab", b""]));
}

#[test]
fn a_receipt_finds_its_event() {
    let window = window(1 << 20);
    let last = (Ticket((1 << ENTRY_BITS) - 1), (1 << ITEM_BITS) - 1);
    let mut seen = std::collections::HashSet::new();
    for (ticket, index) in [(Ticket(0), 0), (Ticket(0), 1), (Ticket(1), 0), (Ticket(16), 1 << 23), last] {
        let to = window.address(ticket, index, true);
        assert!(u32::from(to.generation) < Address::GENERATION_MODULUS);
        assert!(u64::from(to.sequence) < Address::SEQUENCE_MODULUS);
        assert!(seen.insert((to.generation, to.sequence)));
    }
    let mut window = window;
    let nobody = Address { slot: KEYED_SLOT, generation: 1, sequence: 1 };
    assert!(window.settle(&Receipt::new(nobody, Outcome::Stored, Cause::Delivered), 0).is_none());
}

/// What the model knows of a key.
enum Known {
    Open { body: u8, ticket: Ticket, left: Vec<usize>, all_stored: bool },
    Stored { body: u8, until_us: u64 },
}

/// With room for all it is the model exactly; with little room it may forget what is stored, and nothing else.
#[test]
fn it_is_a_map_that_forgets_in_time() {
    for (seed, entries) in [(1, 1_000), (2, 1_000), (3, 6), (4, 3), (5, 1)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut window = window(room_for(entries));
        let is_roomy = entries == 1_000;
        let mut model: HashMap<u8, Known> = HashMap::new();
        let (mut now_us, mut kept, mut expired, mut refused) = (0, 0, 0, 0);
        for _ in 0..50_000 {
            now_us += random.u64(..MINUTE_US / 20);
            let (key, body) = (random.u8(..12), u8::from(random.u8(..8) == 0));
            let (name, content) = (window.digest(&[&[key]]), window.digest(&[&[body]]));
            if let Some(Known::Stored { until_us, .. }) = model.get(&key)
                && *until_us <= now_us
            {
                model.remove(&key);
                expired += 1;
            }
            let found = match window.find(name, content, now_us) {
                Found::Nothing => "nothing",
                Found::Conflict => "conflict",
                Found::Open { .. } => "open",
                Found::Kept(_) => "kept",
            };
            let expected = match model.get(&key) {
                None => "nothing",
                Some(Known::Open { body: first, .. } | Known::Stored { body: first, .. })
                    if *first != body =>
                {
                    "conflict"
                }
                Some(Known::Open { .. }) => "open",
                Some(Known::Stored { .. }) => "kept",
            };
            let may_be_forgotten = !is_roomy && matches!(model.get(&key), Some(Known::Stored { .. }));
            assert!(found == expected || (may_be_forgotten && found == "nothing"), "{found}, not {expected}");
            kept += u32::from(found == "kept");
            if found == "nothing" {
                model.remove(&key);
                let count = random.usize(1..3);
                match window.open(name, content, count, now_us) {
                    None => refused += 1,
                    Some(ticket) => {
                        window.fill(ticket, items(&vec![Fate::Open; count])).unwrap();
                        let left = (0..count).collect();
                        model.insert(key, Known::Open { body, ticket, left, all_stored: true });
                    }
                }
            }
            if found == "open" && random.bool() {
                let Some(Known::Open { body, ticket, mut left, mut all_stored }) = model.remove(&key) else {
                    unreachable!()
                };
                let index = left.swap_remove(random.usize(..left.len()));
                let outcome = if random.u8(..4) == 0 { Outcome::NotStored } else { Outcome::Stored };
                all_stored &= outcome == Outcome::Stored;
                let ended = settle(&mut window, ticket, index, outcome, now_us);
                assert_eq!(ended.is_some(), left.is_empty());
                if !left.is_empty() {
                    model.insert(key, Known::Open { body, ticket, left, all_stored });
                } else if all_stored {
                    model.insert(key, Known::Stored { body, until_us: now_us + MINUTE_US });
                }
            }
            assert!(window.bytes() <= room_for(entries));
            assert_eq!(window.names.len(), window.entries.len());
        }
        assert!(entries == 1 || (kept > 100 && expired > 50), "{kept} {expired}");
        assert_eq!(refused == 0, is_roomy, "{refused}");
        let open = model.values().filter(|known| matches!(known, Known::Open { .. })).count();
        window.find(window.digest(&[]), window.digest(&[]), u64::MAX);
        assert_eq!(window.entries.len(), open, "only what is in flight stays for ever");
    }
}
