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
