//! Bad input beside good input: exactly the good messages arrive, and the connection lives on.

mod gateway;
mod support;

use std::collections::BTreeMap;

use gateway::acks::{AckSender, Told};
use gateway::{cluster, line, scores, serving, stop};
use prost::Message as _;
use sluice::event::pb;
use support::{PATIENCE, eventually};

const MAX_LINE_BYTES: usize = 4096;

/// Every kind of bad line that the issue names, with the reason that its sender is told.
fn bad_lines() -> Vec<(Vec<u8>, &'static str)> {
    let text = |line: &str, reason| (line.as_bytes().to_vec(), reason);
    let with_lb = |lb: &str| format!(r#"{{"lb":"{lb}","player":"p","score":1}}"#);
    let with_player = |player: &str| format!(r#"{{"lb":"g","player":"{player}","score":1}}"#);
    let with_score = |score: &str| format!(r#"{{"lb":"g","player":"p","score":{score}}}"#);
    let with_time = |ts: &str| format!(r#"{{"lb":"g","player":"p","score":1,"ts_ms":{ts}}}"#);
    let nested = format!(r#"{{"lb":"g","player":"p","score":1,"x":{}{}}}"#, "[".repeat(900), "]".repeat(900));
    let invalid_utf8 = [br#"{"lb":"g","player":""#, &b"\xff\xfe"[..], br#"","score":1}"#].concat();
    let nul = [br#"{"lb":"g","player":"p"#, &b"\0"[..], br#"","score":1}"#].concat();
    vec![
        text(r#"{"lb":"g","player":"p","score":1"#, "not_json"), // truncated
        text(r#"{"lb":"g","player":"p","sco"#, "not_json"),
        text("hello", "not_json"),
        text(r#"{"lb":"g","player":"p","score":1}{"#, "not_json"),
        text("[1,2]", "not_an_object"),
        text(r#"{"player":"p","score":1}"#, "missing"),
        text(r#"{"lb":"g","score":1}"#, "missing"),
        text(r#"{"lb":"g","player":"p"}"#, "missing"),
        text("{}", "missing"),
        text(r#"{"lb":7,"player":"p","score":1}"#, "mistyped"),
        text(r#"{"lb":"g","player":null,"score":1}"#, "mistyped"),
        text(&with_score(r#""12""#), "mistyped"),
        text(&with_score("true"), "mistyped"),
        text(&with_time("null"), "mistyped"),
        text(&with_time(r#""2024-01-01""#), "mistyped"),
        text(&with_score("1.5"), "mistyped"), // floats
        text(&with_score("1e3"), "mistyped"),
        text(&with_time("1.0"), "mistyped"),
        text(&with_score("9223372036854775808"), "out_of_range"),
        text(&with_score("99999999999999999999999"), "out_of_range"),
        text(&with_score("-1"), "negative"),
        text(&with_time("-5"), "negative"),
        text(&with_time("18446744073709551615"), "out_of_range"),
        text(&with_lb(""), "empty"),
        text(&with_player(""), "empty"),
        text(&with_lb(&"x".repeat(65)), "too_long"),
        text(&with_player(&"ü".repeat(129)), "too_long"),
        text(r#"{"lb":"g","lb":"g","player":"p","score":1}"#, "duplicate_member"),
        text(r#"{"lb":"g","player":"p","player":"q","score":1}"#, "duplicate_member"),
        text(r#"{"lb":"g","player":"p","score":1,"score":1}"#, "duplicate_member"),
        text(r#"{"lb":"g","player":"p","score":1,"ts_ms":1,"ts_ms":2}"#, "duplicate_member"),
        text(&nested, "too_deep"),
        text(&with_player(r"\ud800"), "not_json"), // lone surrogates
        text(&with_lb(r"\udc00\ud800"), "not_json"),
        (invalid_utf8, "not_utf8"),
        (nul, "not_json"),
        text(&format!(r#"{{"lb":"g","x":"{}"}}"#, "y".repeat(2 * MAX_LINE_BYTES)), "line_too_long"),
        (vec![b'z'; 50 * MAX_LINE_BYTES], "line_too_long"),
    ]
}

/// S0-E1, S0-E2, S0-R1, S0-R2a, S0-R3, S0-AC3: 5 % bad lines of every kind beside good ones, cut anywhere by the
/// network: the sender is told the reason of each, and exactly the good ones arrive.
#[test]
fn exactly_the_good_lines_arrive() {
    let broker = cluster(1);
    let max = MAX_LINE_BYTES.to_string();
    let sluice = serving(&broker, &[("TCP_MAX_LINE_BYTES", &max)]);
    let mut random = fastrand::Rng::with_seed(3);
    let bad = bad_lines();
    let (mut text, mut expected, mut good, mut number) = (Vec::new(), BTreeMap::new(), Vec::new(), 0);
    for round in 0..100 * bad.len() {
        number += 1;
        if random.u32(..20) == 0 {
            let (line, reason) = &bad[round % bad.len()];
            expected.insert(number, Told::Fix((*reason).to_owned()));
            text.extend_from_slice(line);
        } else {
            good.push(number as i64);
            text.extend_from_slice(line(&format!("p{}", round % 50), number).as_bytes());
        }
        text.extend_from_slice(if random.bool() { b"\n" } else { b"\r\n" });
    }
    let kinds = bad.iter().enumerate().map(|(at, _)| at);
    assert!(kinds.count() < expected.len(), "each kind comes more than once on average");

    let mut sender = AckSender::connect(&sluice);
    let mut rest = &text[..];
    while !rest.is_empty() {
        let (part, later) = rest.split_at(random.usize(1..=30_000).min(rest.len()));
        sender.send(part);
        rest = later;
    }
    let account = sender.finish();
    assert_eq!(account.closed, Some(number));
    for (number, told) in &account.named {
        assert_eq!(Some(told), expected.get(number), "message {number}");
    }
    assert_eq!(account.named.len(), expected.len());
    assert_eq!(account.stored(), good.len() as u64);
    let end = stop(sluice);
    end.assert_clean(good.len() as u64);
    assert_eq!((end.of("rejected"), end.of("accepted")), (expected.len() as u64, number));
    assert_eq!(scores(&broker), good);
}

/// S0-E1, S0-E2, G14: each kind alone, between two good lines, and the reason told.
#[test]
fn every_kind_of_bad_line_is_told_its_reason() {
    let broker = cluster(1);
    let max = MAX_LINE_BYTES.to_string();
    let sluice = serving(&broker, &[("TCP_MAX_LINE_BYTES", &max)]);
    let bad = bad_lines();
    let mut sender = AckSender::connect(&sluice);
    for (at, (bytes, _)) in bad.iter().enumerate() {
        sender.send(line("before", 2 * at as u64) + "\n");
        sender.send(bytes);
        sender.send(format!("\n{}\n", line("after", 2 * at as u64 + 1)));
    }
    let account = sender.finish();
    for (at, (bytes, reason)) in bad.iter().enumerate() {
        let start = bytes[..bytes.len().min(80)].escape_ascii();
        let told = account.named.get(&(3 * at as u64 + 2));
        assert_eq!(told, Some(&Told::Fix((*reason).to_owned())), "{start}");
    }
    assert_eq!(account.named.len(), bad.len());
    stop(sluice).assert_clean(2 * bad.len() as u64);
    assert_eq!(scores(&broker), (0..2 * bad.len() as i64).collect::<Vec<_>>());
}

/// S0-R1: an overlong line is one rejection, skipped to its end; the same connection goes on. One byte less passes.
#[test]
fn an_overlong_line_is_skipped_and_the_connection_lives() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("TCP_MAX_LINE_BYTES", "1000")]);
    let padded = |score: u64, length: usize| {
        let start = format!(r#"{{"lb":"g","player":"p","score":{score},"pad":""#);
        let pad = "-".repeat(length - start.len() - 2);
        format!("{start}{pad}\"}}\n")
    };
    let mut sender = AckSender::connect(&sluice);
    for text in [padded(1, 1000), padded(2, 1001), padded(3, 500_000), padded(4, 999)] {
        sender.send(text);
    }
    let account = sender.finish();
    let too_long = Told::Fix("line_too_long".into());
    assert_eq!(account.named.into_iter().collect::<Vec<_>>(), [(2, too_long.clone()), (3, too_long)]);
    assert_eq!((account.plus, account.closed), (4, Some(4)));
    let log = sluice.await_log("reason=line_too_long");
    assert!(log.contains("input.malformed"), "{log}");
    stop(sluice).assert_clean(2);
    assert_eq!(scores(&broker), [1, 4]);
}

/// S0-R2b: bad frames beside good ones: too long, empty, not Protobuf, a rule broken.
#[test]
fn exactly_the_good_frames_arrive() {
    let broker = cluster(1);
    let sluice = serving(&broker, &[("TCP_MAX_FRAME_BYTES", "2000")]);
    let frame = |payload: &[u8]| [&(payload.len() as u32).to_be_bytes()[..], payload].concat();
    let update = |player: &str, score: i64| {
        let (leaderboard_id, player_id) = ("g".to_owned(), player.to_owned());
        pb::ScoreUpdate { leaderboard_id, player_id, score, timestamp_ms: 1 }.encode_to_vec()
    };
    let bad = [vec![7; 2001], Vec::new(), vec![0xff; 9], update("", 1), update("p", -1), vec![1; 300_000]];
    let mut text = Vec::new();
    for (score, bad) in bad.iter().enumerate() {
        text.extend(frame(&update("p", score as i64)));
        text.extend(frame(bad));
    }
    text.extend(frame(&update("p", bad.len() as i64)));
    std::io::Write::write_all(&mut sluice.connect(), &text).unwrap();
    let reason = |name: &str| sluice.metric(&format!("gateway_rejects_total{{reason=\"{name}\"}}")) as u64;
    eventually(PATIENCE, "all bad frames are counted", || gateway::outcome(&sluice, "rejected") == 6);
    let counted = ["frame_too_long", "frame_empty", "not_protobuf", "empty", "negative"].map(reason);
    assert_eq!(counted, [2, 1, 1, 1, 1]);
    stop(sluice).assert_clean(7);
    assert_eq!(scores(&broker), (0..=6).collect::<Vec<_>>());
}
