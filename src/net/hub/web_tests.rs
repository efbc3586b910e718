//! HTTP over streams in memory: who is let in, how fast, and for whom a proxy speaks.

use super::*;
use crate::admission::{AdmissionOptions, CapOptions, LimiterOptions, TrustedProxies};

/// One event, its answer not waited for.
fn post(more: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /events HTTP/1.1\r\nHost: g\r\nContent-Length: {length}\r\n{more}\r\n{body}")
}

const EVENT: &str = r#"{"a":1}"#;

fn options(limiter: Option<LimiterOptions>, per_address: u32) -> NetOptions {
    let caps = (per_address > 0).then_some(CapOptions { per_address, capacity: 10 });
    let trusted = TrustedProxies::parse("10.0.0.0/8").unwrap();
    NetOptions { admission: AdmissionOptions { trusted, limiter, caps }, ..NetOptions::default() }
}

impl World {
    fn connect_http(&mut self, from: [u8; 4]) -> (Peer, u32, u16) {
        let peer = Peer::new();
        peer.0.borrow_mut().from = Some((from, 1).into());
        let mut address = (0, 0);
        let register = |_: &mut Peer, slot, generation| {
            address = (slot, generation);
            Ok::<(), Infallible>(())
        };
        self.hub.add_http(peer.clone(), NOW, register).unwrap();
        (peer, address.0, address.1)
    }

    /// Sends, has a turn at this moment, and gives the statuses and texts of what came back.
    fn ask(&mut self, connection: &(Peer, u32, u16), text: &str, us: u64) -> Vec<(u16, String)> {
        let (peer, slot, generation) = connection;
        peer.0.borrow_mut().got.clear();
        peer.send(text);
        self.hub.readable(*slot, *generation, false);
        self.web_turn(us);
        peer.answers()
    }

    fn web_turn(&mut self, us: u64) {
        let now = Now { us, unix_ms: 1_000 };
        self.hub.take_reports(now);
        self.hub.http_turn(now);
        self.hub.clock_turn(now);
        self.hub.write_turn(now);
    }
}

impl Peer {
    fn answers(&self) -> Vec<(u16, String)> {
        let got = self.got();
        let answers = got.split("HTTP/1.1 ").skip(1);
        answers.map(|answer| (answer[..3].parse().unwrap(), answer.to_owned())).collect()
    }
}

fn statuses(answers: &[(u16, String)]) -> Vec<u16> {
    answers.iter().map(|(status, _)| *status).collect()
}

#[test]
fn a_sender_beyond_its_rate_is_answered_and_its_connection_stays_usable() {
    let limiter = LimiterOptions { per_second: 1, burst: 2, capacity: 10 };
    let mut world = World::with(100, &options(Some(limiter), 0), Arc::default());
    let connection = world.connect_http([192, 0, 2, 1]);
    let answers = world.ask(&connection, &post("", EVENT).repeat(4), 1);
    assert_eq!(statuses(&answers), [202, 202, 429, 429], "{answers:?}");
    let refused = &answers[2].1;
    for part in ["Retry-After: 1\r\n", "rate_limited", r#""outcome":"not_stored""#, r#""retryable":true"#] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Its neighbour is not touched, and its own time comes again; a page costs nothing.
    let other = world.connect_http([192, 0, 2, 2]);
    assert_eq!(statuses(&world.ask(&other, &post("", EVENT), 1)), [202]);
    assert_eq!(statuses(&world.ask(&connection, &post("", EVENT), 1_000_001)), [202]);
    assert_eq!(
        statuses(&world.ask(&connection, "OPTIONS /events HTTP/1.1\r\nHost: g\r\n\r\n", 1_000_001)),
        [204]
    );
    assert_eq!((world.store_all(), world.hub.stats().rate_limited), (4, 2));
}

#[test]
fn a_proxys_clients_are_told_apart() {
    let limiter = LimiterOptions { per_second: 1, burst: 1, capacity: 10 };
    let mut world = World::with(100, &options(Some(limiter), 0), Arc::default());
    let of = |client: &str| post(&format!("X-Forwarded-For: {client}\r\n"), EVENT);
    let proxy = world.connect_http([10, 0, 0, 1]);
    let text = of("192.0.2.1") + &of("192.0.2.2") + &of("192.0.2.9, 192.0.2.1");
    assert_eq!(statuses(&world.ask(&proxy, &text, 1)), [202, 202, 429]);
    let liar = world.connect_http([192, 0, 2, 3]);
    let text = of("192.0.2.4") + &of("192.0.2.5");
    assert_eq!(statuses(&world.ask(&liar, &text, 1)), [202, 429], "it is no trusted proxy");
}

#[test]
fn a_proxy_header_says_who_calls() {
    let limiter = LimiterOptions { per_second: 1, burst: 1, capacity: 10 };
    let mut world = World::with(100, &options(Some(limiter), 0), Arc::default());
    let header = "PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n";
    let text = header.to_owned() + &post("", EVENT);
    // However the bytes are cut.
    for (turn, cut) in [0, 1, 5, 20, header.len(), header.len() + 3].into_iter().enumerate() {
        let us = 2_000_000 * (turn as u64 + 1);
        let proxy = world.connect_http([10, 0, 0, 1]);
        world.ask(&proxy, &text[..cut], us);
        assert_eq!(statuses(&world.ask(&proxy, &text[cut..], us)), [202], "cut at {cut}");
        let direct = world.connect_http([192, 0, 2, 1]);
        assert_eq!(statuses(&world.ask(&direct, &post("", EVENT), us)), [429], "the same client");
    }
    let stranger = world.connect_http([192, 0, 2, 8]);
    assert_eq!(statuses(&world.ask(&stranger, &text, 1)), [400], "its header is no request");
    let plain = world.connect_http([10, 0, 0, 1]);
    assert_eq!(statuses(&world.ask(&plain, &post("", EVENT), 1)), [202], "no header: the proxy itself");
    let (peer, slot, generation) = world.connect_http([10, 0, 0, 1]);
    peer.send("PROXY TCP9\r\n");
    world.hub.readable(slot, generation, false);
    world.web_turn(1);
    assert!(world.hub.table.at(slot, generation).is_none(), "a broken header ends the connection");
    assert_eq!(world.hub.stats().refused, [0, 1]);
}

#[test]
fn lines_behind_a_proxy_header_are_taken() {
    let mut world = World::with(100, &options(None, 0), Arc::default());
    let (peer, slot, generation) = world.connect();
    peer.0.borrow_mut().from = Some(([10, 0, 0, 1], 1).into());
    let conn = world.hub.table.at(slot, generation).unwrap();
    conn.expects_proxy = true;
    peer.send("PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n");
    peer.send(LINE);
    world.hub.readable(slot, generation, false);
    world.turn();
    assert_eq!(world.store_all(), 1);
    let conn = world.hub.table.at(slot, generation).unwrap();
    assert_eq!(conn.client, "192.0.2.1:1234".parse().unwrap());
}

#[test]
fn an_address_has_its_share_of_connections() {
    let mut world = World::with(100, &options(None, 2), Arc::default());
    let lets_in = |world: &mut World, from: [u8; 4]| world.hub.lets_in((from, 9).into(), true, NOW);
    let client = [192, 0, 2, 1];
    let first = world.connect_http(client);
    assert!(lets_in(&mut world, client));
    world.connect_http(client);
    assert!(!lets_in(&mut world, client) && lets_in(&mut world, [192, 0, 2, 2]));
    // Named by a proxy, it is the same address.
    let (peer, slot, generation) = world.connect_http([10, 0, 0, 1]);
    peer.send("PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n");
    world.hub.readable(slot, generation, false);
    world.web_turn(1);
    assert!(world.hub.table.at(slot, generation).is_none());
    assert_eq!(world.hub.stats().refused, [0, 2]);
    world.hub.remove(first.1, NOW);
    assert!(lets_in(&mut world, client), "one is gone");
}

/// A request with a key, and the statuses that it may ask for.
fn keyed(key: &str, ack: &str, body: &str) -> String {
    post(&format!("Idempotency-Key: {key}\r\nPrefer: ack={ack}\r\n"), body)
}

impl World {
    fn web() -> Self {
        Self::with(100, &NetOptions::default(), Arc::default())
    }

    /// What the Kafka thread does with all that waits in the channel: one outcome for all, receipts to those who wait.
    fn end_all(&mut self, outcome: Outcome, cause: Cause) -> usize {
        let mut ended = 0;
        while let Some(batch) = self.kafka.next_batch() {
            for record in batch.records() {
                let shared = &self.kafka.shared;
                shared.ledger.credit(outcome, 1);
                shared.budget.give_back(1, record.accounted_bytes());
                if let crate::handoff::Target::Peer(to) = record.token.target() {
                    self.kafka.tell(Receipt::new(to, outcome, cause));
                }
                ended += 1;
            }
            self.kafka.recycle(batch);
        }
        self.kafka.publish();
        ended
    }

    fn lost(&self) -> u64 {
        self.hub.end.shared.ledger.account().lost
    }
}

fn id_of(answer: &str) -> &str {
    let (_, rest) = answer.split_once(r#""event_id":""#).unwrap_or_else(|| panic!("{answer}"));
    rest.split('"').next().unwrap()
}

#[test]
fn a_stored_request_is_answered_again_and_not_taken_again() {
    for (ack, status) in [("queued", 202), ("none", 202), ("delivered", 200)] {
        let mut world = World::web();
        let one = world.connect_http([192, 0, 2, 1]);
        let text = keyed("k", ack, EVENT);
        let mut first = world.ask(&one, &text, 1);
        assert_eq!(world.end_all(Outcome::Stored, Cause::Delivered), 1);
        world.web_turn(2);
        if ack == "delivered" {
            assert_eq!(first, []);
            first = one.0.answers();
        }
        // The connection that sent it is gone.
        world.hub.remove(one.1, NOW);
        let two = world.connect_http([192, 0, 2, 1]);
        let again = world.ask(&two, &text, 3);
        assert_eq!((statuses(&first), &first), (vec![status], &again), "word for word");
        assert_eq!(statuses(&world.ask(&two, &keyed("k", ack, r#"{"a":2}"#), 3)), [409]);
        assert_eq!(world.end_all(Outcome::Stored, Cause::Delivered), 0, "nothing was taken");
        // Another sender's key is another key, and so is another route's.
        let stranger = world.connect_http([192, 0, 2, 2]);
        let own = world.ask(&stranger, &keyed("k", "queued", r#"{"a":2}"#), 3);
        assert_eq!(statuses(&own), [202]);
        assert_ne!(id_of(&own[0].1), id_of(&first[0].1));
        assert_eq!((world.end_all(Outcome::Stored, Cause::Delivered), world.lost()), (1, 0));
    }
}

#[test]
fn a_retry_shares_the_outcome_of_the_one_in_flight() {
    for ack in ["queued", "delivered"] {
        for (outcome, cause, status) in
            [(Outcome::Stored, Cause::Delivered, 200), (Outcome::NotStored, Cause::DeadlinePassed, 503)]
        {
            let mut world = World::web();
            let (one, two) = (world.connect_http([192, 0, 2, 1]), world.connect_http([192, 0, 2, 1]));
            let text = keyed("k", ack, EVENT);
            let first = world.ask(&one, &text, 1);
            assert_eq!(statuses(&first), if ack == "queued" { vec![202] } else { vec![] });
            assert_eq!(world.ask(&two, &text, 2), [], "it waits, although the first was answered");
            assert_eq!(world.end_all(outcome, cause), 1, "one record");
            world.web_turn(3);
            let shared = if ack == "queued" && status == 200 { 202 } else { status };
            assert_eq!(statuses(&two.0.answers()), [shared]);
            if ack == "delivered" {
                assert_eq!(one.0.answers(), two.0.answers());
            }
            assert_eq!(world.lost(), 0, "somebody was told");
            // A failed one is forgotten: the next try is a first one.
            let taken = usize::from(outcome == Outcome::NotStored);
            world.ask(&two, &text, 4);
            assert_eq!(world.end_all(Outcome::Stored, Cause::Delivered), taken);
        }
    }
}

#[test]
fn a_failed_request_whose_sender_is_gone_is_lost_once_and_its_retry_is_a_first_one() {
    for ack in ["queued", "delivered"] {
        let mut world = World::web();
        let one = world.connect_http([192, 0, 2, 1]);
        world.ask(&one, &keyed("k", ack, EVENT), 1);
        world.hub.remove(one.1, NOW);
        assert_eq!(world.end_all(Outcome::NotStored, Cause::DeadlinePassed), 1);
        world.web_turn(2);
        assert_eq!(world.lost(), 1, "{ack}");
        let two = world.connect_http([192, 0, 2, 1]);
        world.ask(&two, &keyed("k", ack, EVENT), 3);
        assert_eq!(world.end_all(Outcome::Stored, Cause::Delivered), 1);
        world.web_turn(4);
        assert_eq!((world.lost(), statuses(&two.0.answers()).len()), (1, 1));
    }
}

#[test]
fn a_batch_is_one_request() {
    let mut world = World::web();
    let one = world.connect_http([192, 0, 2, 1]);
    let text = keyed("k", "delivered", r#"[{"a":1},7,{"a":3}]"#);
    assert_eq!(world.ask(&one, &text, 1), []);
    assert_eq!(world.end_all(Outcome::Stored, Cause::Delivered), 2);
    world.web_turn(2);
    let first = one.0.answers();
    assert_eq!(statuses(&first), [207]);
    assert_eq!(world.ask(&one, &text, 3), first, "the refused one as well");
    assert_eq!(world.end_all(Outcome::Stored, Cause::Delivered), 0);
}

#[test]
fn a_retry_waits_no_longer_than_it_asks_for() {
    let mut world = World::web();
    let (one, two) = (world.connect_http([192, 0, 2, 1]), world.connect_http([192, 0, 2, 1]));
    world.ask(&one, &keyed("k", "queued", EVENT), 1);
    let text = keyed("k", "queued", EVENT).replace("POST /events", "POST /events?timeout=1s");
    assert_eq!(world.ask(&two, &text, 1), []);
    world.web_turn(2_000_000);
    assert_eq!(statuses(&two.0.answers()), [504]);
    assert_eq!(world.end_all(Outcome::Stored, Cause::Delivered), 1);
    world.web_turn(2_000_001);
    assert_eq!(statuses(&world.ask(&two, &text, 2_000_002)), [202]);
}

/// One of the events of a large batch whose sender waits for delivery.
fn batch(events: usize) -> String {
    post("Prefer: ack=delivered\r\n", &format!("[{}]", vec![EVENT; events].join(",")))
}

/// With a store of answers of so many bytes.
fn with_store(bytes: usize) -> World {
    let http = HttpOptions { answer_store_bytes: bytes, ..HttpOptions::default() };
    World::with(10_000, &NetOptions::default(), Arc::new(http))
}

impl World {
    fn held(&self) -> usize {
        self.hub.desk.web.answers_held
    }

    /// Turns until nobody is read any more.
    fn web_turns(&mut self, us: u64) {
        while !self.hub.http_ready.is_empty() {
            self.web_turn(us);
            self.end_all(Outcome::Stored, Cause::Delivered);
        }
        self.web_turn(us);
    }
}

/// Peers that ask and never read hold what the store has and no more; those who read are served all the while, and the
/// others once they read. Nothing is lost, nothing stays booked.
#[test]
fn the_store_of_answers_bounds_those_who_do_not_read() {
    const STORE: usize = 1 << 20;
    let mut world = with_store(STORE);
    let requests = 300;
    let text = post("Prefer: ack=none\r\n", EVENT).repeat(requests);
    let hoarders: Vec<_> = (0..100).map(|_| world.connect_http([192, 0, 2, 1])).collect();
    for (peer, slot, generation) in &hoarders {
        peer.takes(0);
        peer.send(&text);
        world.hub.readable(*slot, *generation, false);
    }
    world.web_turns(1);
    assert!(world.held() > STORE / 2 && world.held() <= STORE, "{}", world.held());
    let reader = world.connect_http([192, 0, 2, 1]);
    for us in 2..100 {
        assert_eq!(statuses(&world.ask(&reader, &post("", EVENT), us)), [202]);
        world.end_all(Outcome::Stored, Cause::Delivered);
    }
    // 1,000 bytes at a time.
    while hoarders.iter().any(|(peer, ..)| peer.got().matches("}\n").count() < requests) {
        let before: usize = hoarders.iter().map(|(peer, ..)| peer.got().len()).sum();
        for (peer, slot, generation) in &hoarders {
            peer.takes(1000);
            world.hub.writable(*slot, *generation);
        }
        world.web_turns(200);
        let after: usize = hoarders.iter().map(|(peer, ..)| peer.got().len()).sum();
        assert!(after > before, "nobody gets further");
        assert!(world.held() <= 2 * STORE);
    }
    for (peer, slot, _) in &hoarders {
        assert_eq!(statuses(&peer.answers()), vec![202; requests]);
        world.hub.remove(*slot, NOW);
    }
    assert_eq!(world.held(), 0);
}

/// Batches in flight, hundreds of connections of them: those whose answers find room are taken and answered one event
/// after the other, the others are told 503 and not taken.
#[test]
fn the_store_of_answers_bounds_batches_in_flight() {
    const STORE: usize = 256 << 10;
    let mut world = with_store(STORE);
    let connections: Vec<_> = (0..300).map(|_| world.connect_http([192, 0, 2, 1])).collect();
    let (mut waiting, mut refused) = (0, 0);
    for connection in &connections {
        let answers = world.ask(connection, &batch(20), 1);
        match statuses(&answers).as_slice() {
            [] => waiting += 1,
            [503] => refused += 1,
            other => panic!("{other:?}"),
        }
        assert!(world.held() <= STORE, "{}", world.held());
    }
    assert!(waiting > 10 && refused > 10 && waiting + refused == 300, "{waiting} {refused}");
    let mut ended = 0;
    loop {
        world.hub.submit_rest();
        let more = world.end_all(Outcome::Stored, Cause::Delivered);
        world.web_turn(2);
        ended += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!(ended, 20 * waiting);
    let told = connections.iter().filter(|(peer, ..)| statuses(&peer.answers()) == [200]).count();
    assert_eq!((told, world.held()), (waiting, 0));
    // There is room again.
    let answers = world.ask(&connections[299], &batch(20), 3);
    assert!(statuses(&answers).is_empty() && world.end_all(Outcome::Stored, Cause::Delivered) == 20);
}

/// Ever shorter waits would put one moment after the other on the heap.
#[test]
fn moments_that_mean_nothing_any_more_are_cleared_away() {
    let mut world = World::web();
    let connection = world.connect_http([192, 0, 2, 1]);
    for ms in (1..9_000).rev() {
        let text =
            post("Prefer: ack=delivered\r\n", EVENT).replace("/events", &format!("/events?timeout={ms}ms"));
        world.ask(&connection, &text, 1);
        world.end_all(Outcome::Stored, Cause::Delivered);
        world.web_turn(1);
    }
    let count = world.hub.moments.len();
    assert!(count <= 1100, "{count}");
    assert!(world.hub.next_moment_us().is_some_and(|due_us| due_us <= 1 + 1_000 + 200_000));
}

/// A 202 is no small promise: what failed behind it is lost, unless a retry was told so; whoever waited no longer was not.
#[test]
fn what_fails_behind_a_202_is_lost_unless_a_retry_is_told() {
    for (ack, outcome, first, lost) in [
        ("queued", Outcome::NotStored, 202, 1),
        ("delivered", Outcome::NotStored, 503, 0),
        ("delivered", Outcome::Rejected, 422, 0),
    ] {
        let mut world = World::web();
        let (one, two) = (world.connect_http([192, 0, 2, 1]), world.connect_http([192, 0, 2, 1]));
        let answers = world.ask(&one, &keyed("k", ack, EVENT), 1);
        let retry = keyed("k", "queued", EVENT).replace("POST /events", "POST /events?timeout=1s");
        world.ask(&two, &retry, 1);
        world.web_turn(2_000_000);
        assert_eq!(statuses(&two.0.answers()), [504]);
        world.end_all(outcome, Cause::InvalidRecord);
        world.web_turn(2_000_001);
        let answers = if answers.is_empty() { one.0.answers() } else { answers };
        assert_eq!((statuses(&answers), world.lost()), (vec![first], lost), "{ack} {outcome:?}");
    }
}
