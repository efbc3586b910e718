//! One sender's share of HTTP, and its retries, against a running gateway: rate limit, proxies, connections of one
//! address, `Idempotency-Key`.

mod gateway;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use gateway::{TOPIC, await_stored, cluster, line, outcome, serving, stop};
use support::{Broker, PATIENCE, Sluice, eventually, eventually_some, read_all};

/// A gateway whose routes all write the one topic.
fn web(broker: &Broker, env: &[(&str, &str)]) -> Sluice {
    let own = [("HTTP_PORT", "0"), ("EVENTS_TOPIC", TOPIC), ("PLAYER_EVENTS_TOPIC", TOPIC)];
    serving(broker, &[&own, env].concat())
}

fn http_address(sluice: &Sluice) -> SocketAddr {
    let line = sluice.await_log("gateway.start");
    let (_, rest) = line.split_once("http=").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// A connection that may ask several things before it reads.
struct Client(BufReader<TcpStream>);

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn member(&self, name: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", self.body)).to_owned()
    }
}

impl Client {
    fn connect(sluice: &Sluice) -> Client {
        let stream = TcpStream::connect(http_address(sluice)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn read(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "closed: {head:?}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).unwrap();
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    fn ask(&mut self, text: &str) -> Answer {
        self.send(text);
        self.read()
    }
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /events HTTP/1.1\r\nHost: g\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn keyed(key: &str, ack: &str, body: &str) -> String {
    post(&format!("Idempotency-Key: {key}\r\nPrefer: ack={ack}\r\n"), body)
}

const EVENT: &str = r#"{"a":1}"#;

fn records(broker: &Broker) -> usize {
    read_all(broker.bootstrap(), TOPIC).len()
}

#[test]
fn a_sender_beyond_its_rate_gets_429_and_goes_on_with_its_connection() {
    let broker = cluster(1);
    let limit = [("RATE_LIMIT_ENABLED", "true"), ("RATE_LIMIT_RPS", "1"), ("RATE_LIMIT_BURST", "2")];
    let sluice = web(&broker, &limit);
    let mut client = Client::connect(&sluice);
    client.send(&post("", EVENT).repeat(20));
    let answers: Vec<Answer> = (0..20).map(|_| client.read()).collect();
    let passed = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!([answers[0].status, answers[1].status, answers[19].status], [202, 202, 429]);
    let refused = &answers[19];
    assert!(refused.head.contains("Retry-After: 1\r\n") && refused.head.contains("application/problem+json"));
    assert_eq!(
        (refused.member("code"), refused.member("outcome")),
        ("rate_limited".into(), "not_stored".into())
    );
    let limited = sluice.metric("gateway_http_rate_limited_total") as usize;
    assert_eq!(passed + limited, 20);
    assert_eq!(client.ask("GET /health HTTP/1.1\r\nHost: g\r\n\r\n").status, 200, "pages are free");
    stop(sluice).assert_clean(passed as u64);
    assert_eq!(records(&broker), passed);
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_rate() {
    let broker = cluster(1);
    let limit = [
        ("RATE_LIMIT_ENABLED", "true"),
        ("RATE_LIMIT_RPS", "1"),
        ("RATE_LIMIT_BURST", "1"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let sluice = web(&broker, &limit);
    let mut proxy = Client::connect(&sluice);
    let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    proxy.send(&clients.map(|client| post(&format!("X-Forwarded-For: {client}\r\n"), EVENT)).concat());
    assert_eq!(clients.map(|_| proxy.read().status), [202; 3]);
    // Version 1 to HTTP, version 2 to TCP.
    let mut behind = Client::connect(&sluice);
    behind.send("PROXY TCP4 192.0.2.9 127.0.0.1 1234 80\r\n");
    assert_eq!(behind.ask(&post("", EVENT)).status, 202);
    let mut lines = sluice.connect();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x7f\0\0\x01\0\x01\0\x02";
    lines.write_all(v2).unwrap();
    lines.write_all(format!("{}\nnonsense\n", line("p", 1)).as_bytes()).unwrap();
    await_stored(&sluice, 5);
    assert!(
        sluice.await_log("input.malformed").contains("peer=192.0.2.9:1"),
        "the log names who really calls"
    );
    drop((proxy, behind, lines));
    assert_eq!(stop(sluice).of("stored"), 5);
}

#[test]
fn an_address_may_have_so_many_connections() {
    let broker = cluster(1);
    let sluice = web(&broker, &[("MAX_CONNECTIONS_PER_ADDRESS", "1")]);
    let mut first = Client::connect(&sluice);
    assert_eq!(first.ask(&post("", EVENT)).status, 202);
    let mut second = TcpStream::connect(http_address(&sluice)).unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [0];
    let is_closed = match second.read(&mut byte) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(is_closed);
    assert_eq!(sluice.metric("gateway_connections_refused_total{listener=\"http\"}"), 1.0);
    drop(first);
    eventually(PATIENCE, "the next one is let in", || {
        let mut next = TcpStream::connect(http_address(&sluice)).unwrap();
        next.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = next.write_all(b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n");
        asked.is_ok() && next.read(&mut byte).is_ok_and(|count| count == 1)
    });
    stop(sluice).assert_clean(1);
}

/// Pain 14: a key never swallows an event, and never doubles one.
#[test]
fn a_retry_is_the_same_event() {
    let broker = cluster(1);
    let sluice = web(&broker, &[]);
    for (ack, status) in [("queued", 202), ("delivered", 200)] {
        let stored = outcome(&sluice, "stored");
        let first = Client::connect(&sluice).ask(&keyed(ack, ack, EVENT));
        assert_eq!(first.status, status);
        await_stored(&sluice, stored + 1);
        let mut again = Client::connect(&sluice);
        let second = again.ask(&keyed(ack, ack, EVENT));
        assert_eq!((second.status, &second.body), (status, &first.body));
        let other = again.ask(&keyed(ack, ack, r#"{"a":2}"#));
        assert_eq!((other.status, other.member("code")), (409, "idempotency_conflict".into()));
    }
    assert_eq!(sluice.metric("gateway_http_retries_total{outcome=\"conflict\"}"), 2.0);
    stop(sluice).assert_clean(2);
    assert_eq!(records(&broker), 2);
}

#[test]
fn two_at_once_are_one_event() {
    let broker = cluster(1);
    let sluice = web(&broker, &[("KAFKA_LINGER_MS", "200")]);
    let mut clients = [Client::connect(&sluice), Client::connect(&sluice), Client::connect(&sluice)];
    for client in &mut clients {
        client.send(&keyed("k", "delivered", EVENT));
    }
    let answers = clients.map(|mut client| client.read());
    let ids = answers.iter().map(|answer| (answer.status, answer.member("event_id")));
    let ids: std::collections::HashSet<_> = ids.collect();
    assert!(ids.len() == 1 && ids.iter().all(|(status, _)| *status == 200), "{ids:?}");
    let outcomes = ["replayed", "joined"];
    let shared = outcomes
        .map(|outcome| sluice.metric(&format!("gateway_http_retries_total{{outcome=\"{outcome}\"}}")));
    assert_eq!(shared.iter().sum::<f64>(), 2.0);
    stop(sluice).assert_clean(1);
    assert_eq!(records(&broker), 1);
}

/// Whatever its sender was told before, a request that failed is tried again.
#[test]
fn a_failed_request_leaves_no_key_behind() {
    for ack in ["queued", "delivered"] {
        let mut broker = cluster(1);
        let sluice = web(&broker, &[("KAFKA_DLQ_TOPIC", "off")]);
        broker.command("refuse produce TOPIC_AUTHORIZATION_FAILED 1");
        let mut client = Client::connect(&sluice);
        let first = client.ask(&keyed("k", ack, EVENT));
        assert_eq!(first.status, if ack == "queued" { 202 } else { 503 }, "{}", first.body);
        let id = first.member("event_id");
        eventually(PATIENCE, "it fails", || outcome(&sluice, "not_stored") == 1);
        let lost = format!("event.lost id=\"{id}\"");
        match ack {
            "queued" => drop(sluice.await_log(&lost)),
            _ => assert!(!sluice.logs().iter().any(|line| line.contains(&lost)), "its sender was told"),
        }
        broker.command("accept produce");
        // The client library refuses by itself until it has asked the cluster again.
        let stored = eventually_some(PATIENCE, "a retry is stored", || {
            let answer = client.ask(&keyed("k", "delivered", EVENT));
            assert!(answer.status == 200 || answer.member("outcome") == "not_stored", "{}", answer.body);
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(client.ask(&keyed("k", "delivered", EVENT)).body, stored.body);
        let end = stop(sluice);
        end.assert_balanced();
        assert_eq!((end.of("stored"), end.of("lost")), (1, u64::from(ack == "queued")));
        assert_eq!(records(&broker), 1);
    }
}

/// S4-R2: an event_id of the client's own makes a retry the same event without a key; on S3's route an id does not.
#[test]
fn an_event_id_makes_a_retry_the_same_event() {
    let broker = cluster(1);
    let sluice = web(&broker, &[]);
    let mut client = Client::connect(&sluice);
    let event = |id: &str, player: &str| {
        format!(
            r#"{{"event_id":"{id}","event_type":"t","player_id":"{player}","game_id":"g","timestamp":"2026-01-01T00:00:00Z"}}"#
        )
    };
    let post = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: g\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let (one, two) = ("0b6f6a52-2a39-4b7c-9a5b-0d5f3c1e8a11", "1b6f6a52-2a39-4b7c-9a5b-0d5f3c1e8a12");
    let route = "/api/v1/events";
    let first = client.ask(&post(route, &event(one, "ann")));
    let again = Client::connect(&sluice).ask(&post(route, &event(one, "ann")));
    assert_eq!((first.status, again.status, &again.body), (200, 200, &first.body));
    let other = client.ask(&post(route, &event(one, "bob")));
    assert_eq!((other.status, other.member("code").as_str()), (409, "idempotency_conflict"));
    assert!(other.member("detail").contains("event_id"), "{}", other.body);

    let batch = format!("[{},{}]", event(one, "ann"), event(two, "bob"));
    let first = client.ask(&post(route, &batch));
    assert_eq!(client.ask(&post(route, &batch)).body, first.body);
    // While the first one is on its way a retry waits for it, whatever its connection.
    client.send(&post(route, &event(two, "cy")).repeat(3));
    let answers: Vec<Answer> = (0..3).map(|_| client.read()).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    for _ in 0..2 {
        assert_eq!(client.ask(&post("/events", r#"{"id":"same"}"#)).status, 202);
    }
    await_stored(&sluice, 6);
    assert_eq!(sluice.metric("gateway_http_retries_total{outcome=\"conflict\"}"), 1.0);
    stop(sluice).assert_clean(6);
    assert_eq!(records(&broker), 6);
}
