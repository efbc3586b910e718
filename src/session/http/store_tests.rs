//! The store of answers: how long an answer can be, who waits, who is refused, and that nobody waits for others.

use super::answer;
use super::exchange::{Fate, Item, Manner, Taken};
use super::store::{ANSWER_BYTES_MAX, ITEM_BYTES_MAX, batch_bytes};
use super::tests::{World, post, statuses};
use super::*;
use crate::event::{Outcome, Rejection};
use crate::handoff::{Cause, Place};
use crate::pipeline::events::{EVENT_ID_MAX_BYTES, EventId};

/// The longest id in words: each of its bytes is escaped.
fn longest_id() -> EventId {
    let mut world = World::new();
    let mut peer = world.peer();
    let id = "\\\"".repeat(EVENT_ID_MAX_BYTES);
    world.feed(&mut peer, post(WAITS, &format!(r#"{{"id":"{id}"}}"#)), false);
    let Some(Answer::Waiting(taken)) = peer.session.answers.pop_front() else { panic!("{}", peer.said()) };
    taken.items[0].event_id.expect("it was taken")
}

/// Everything that can become of an event.
fn fates() -> Vec<Fate> {
    let outcomes = [Outcome::Stored, Outcome::Rejected, Outcome::NotStored, Outcome::Unknown];
    let causes = Cause::ALL.iter().copied();
    let ended = causes.flat_map(|cause| outcomes.map(|outcome| Fate::Ended { outcome, cause }));
    let refused = Rejection::all().map(Fate::Refused);
    let others = [Fate::Open, Fate::Queued, Fate::NoRoom, Fate::OutOfTime];
    ended.chain(refused).chain(others).collect()
}

fn taken(route: Route, items: Vec<Item>, is_batch: bool) -> Taken {
    Taken {
        route,
        manner: Manner { keep_alive: false, head_only: false, http10: true, grant: 0 },
        is_batch,
        items,
        open: 0,
        first: 0,
        begun_us: 0,
        accepted_us: 0,
        deadline_us: 0,
        reserved: 0,
        waits: true,
        shows_place: true,
        serial: None,
        is_echo: false,
    }
}

#[test]
fn no_answer_is_longer_than_was_reckoned() {
    let id = longest_id();
    assert_eq!(id.as_str().len(), EVENT_ID_MAX_BYTES);
    let (mut longest, mut longest_item) = (0, 0);
    for fate in fates() {
        for route in [Route::Events, Route::PlayerEvents] {
            let items = vec![
                Item {
                    place: Some(Place { partition: i32::MAX, offset: i64::MAX }),
                    ..Item::new(Some(id), fate)
                };
                2
            ];
            let cors = Cors::new(vec!["o".repeat(ORIGIN_BYTES_MAX)]);
            let granted = cors.headers(1);
            let length = |items: &[Item], is_batch| {
                let mut out = Vec::new();
                answer::taken(&taken(route, items.to_vec(), is_batch), u32::MAX, &granted, &mut out);
                out.len()
            };
            longest = longest.max(length(&items[..1], false));
            let (one, two) = (length(&items[..1], true), length(&items, true));
            // With a comma, and an index of seven digits.
            longest_item = longest_item.max(two - one + 6);
            assert!(one <= batch_bytes(1, 2 * EVENT_ID_MAX_BYTES), "{fate:?}: {one}");
        }
    }
    println!("an answer has at most {longest} bytes, an item {longest_item} with its id");
    assert!(longest <= ANSWER_BYTES_MAX, "{longest}");
    assert!(longest_item <= ITEM_BYTES_MAX + 2 * EVENT_ID_MAX_BYTES + 2, "{longest_item}");
}

const WAITS: &str = "/events?ack=delivered";

/// Sessions that owe an answer wait at the limit; one that owes none goes on, and so does each of them once it owes
/// nothing, whatever the others do.
#[test]
fn nobody_waits_for_others() {
    let mut world = World::new();
    world.options = Arc::new(HttpOptions { answer_store_bytes: 1 << 20, ..(*world.options).clone() });
    let mut hoarders: Vec<_> = (0..100).map(|_| world.peer()).collect();
    let mut stopped = 0;
    for peer in &mut hoarders {
        let mut stop = world.feed(peer, post(WAITS, "{}").repeat(WAITING_MAX - 1), false);
        while stop == Some(Stop::Batch) {
            world.addresses();
            stop = world.feed(peer, "", false);
        }
        stopped += usize::from(stop == Some(Stop::Answers));
        peer.session.book(0, &mut world.web.answers_held);
        assert!(!peer.session.answers.is_empty(), "one request is always taken");
    }
    let limit = world.options.answer_store_bytes;
    assert!(stopped > 50 && world.web.answers_held <= limit, "{stopped} {}", world.web.answers_held);
    assert!(world.web.answers_held > limit / 2, "the store is used: {}", world.web.answers_held);
    let mut newcomer = world.peer();
    assert_ne!(world.feed(&mut newcomer, post("/events", "{}"), false), Some(Stop::Answers));
    assert_eq!(newcomer.statuses(), [202]);
    let mut last = hoarders.pop().expect("there are many");
    let owed = last.session.answers.len();
    assert!(owed > 0 && !last.kept.is_empty(), "it is one of those that wait");
    for at in 0..owed {
        assert!(last.session.is_answer_bound(world.web.answers_held), "answer {at} of {owed} is owed");
        let to = Address { slot: 3, generation: 5, sequence: at as u32 };
        last.settle(to, Outcome::Stored, world.now_us);
        assert_eq!(last.statuses(), [200]);
        last.session.book(0, &mut world.web.answers_held);
    }
    assert!(!last.session.is_answer_bound(world.web.answers_held), "it owes nothing");
    let left = last.kept.len();
    world.feed(&mut last, "", false);
    assert!(last.kept.len() < left, "it goes on although the store is as full as before");
    for peer in hoarders.iter_mut().chain([&mut last]) {
        peer.session.release_answers(&mut world.web.answers_held);
    }
    assert_eq!(world.web.answers_held, 0);
}

#[test]
fn a_batch_whose_answer_finds_no_room_is_not_stored() {
    let mut world = World::new();
    let options = HttpOptions { answer_store_bytes: 64 << 10, ..(*world.options).clone() };
    world.options = Arc::new(options);
    let batch = |items: usize| post(WAITS, &format!("[{}]", vec!["1"; items].join(",")));
    let mut peer = world.peer();
    world.feed(&mut peer, batch(20), false);
    assert_eq!(peer.statuses(), [207]);
    let before = world.tally.accepted;
    world.web.answers_held = 60 << 10;
    world.feed(&mut peer, batch(20), false);
    let said = peer.said();
    assert_eq!(statuses(&said), [503], "{said}");
    for part in ["Retry-After: ", r#""code":"overloaded""#, r#""outcome":"not_stored""#] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!((world.tally.accepted - before, world.tally.turned_away), (20, 20));
    assert!(world.batch.records().is_empty());
    world.feed(&mut peer, batch(1), false);
    assert_eq!(peer.statuses(), [207], "what fits into a connection's own room needs no store");
    world.web.answers_held = 0;
    world.feed(&mut peer, batch(200), false);
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 413 ") && said.contains("too_many_events"), "{said}");
    assert!(said.contains(r#""retryable":false"#), "{said}");
}

/// The head of a request whose body is on its way counts as well: attributes of a CloudEvent may be 16 KiB.
#[test]
fn heads_of_bodies_on_their_way_are_held_in_the_store_of_bodies() {
    let mut world = World::new();
    let room = world.web.body_room;
    let head = format!("POST /events HTTP/1.1\r\nHost: a\r\nTraceparent: {}\r\n", "0".repeat(1000));
    for framing in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
        let mut peer = world.peer();
        world.feed(&mut peer, format!("{head}{framing}\r\n\r\n"), false);
        assert!(room - world.web.body_room >= 1000, "{framing}");
        let mut other = world.peer();
        world.feed(&mut other, format!("{head}Content-Length: {}\r\n\r\n", room - 1000), false);
        assert_eq!(other.statuses(), [503], "it does not fit beside the first");
        peer.session.release_body(&mut world.web.body_room);
        assert_eq!(world.web.body_room, room, "{framing}");
    }
}

/// Every response is counted by what it says, in the turn in which it may be written.
#[test]
fn responses_are_counted() {
    let mut world = World::new();
    let mut peer = world.peer();
    let input =
        [post("/events", "{}"), post("/events", "["), post("/nowhere", ""), post(WAITS, "{}")].concat();
    world.feed(&mut peer, input + &post("/events", "{}"), false);
    let addresses = world.addresses();
    let count = |world: &World, status| {
        let counts = crate::metrics::STATUSES.into_iter().zip(world.web.responses.by_status());
        counts.into_iter().find(|(given, _)| *given == status).expect("it is counted").1
    };
    let counts = |world: &World| [202, 400, 404, 200].map(|status| count(world, status));
    assert_eq!(counts(&world), [1, 1, 1, 0], "the last ones wait");
    peer.settle(addresses[0], Outcome::Stored, world.now_us + 70_000);
    assert_eq!(counts(&world), [2, 1, 1, 1]);
    let durations = world.web.responses.durations();
    assert_eq!((durations.count(), durations.sum_seconds()), (5, 0.14), "the last one waited as well");
    world.feed(&mut peer, "nonsense\r\n\r\n", false);
    assert_eq!(count(&world, 400), 2);
}
