//! Every kind of line and frame with its exact answer, and every value byte against prost and protoc.

use super::*;
use crate::event::Rejection as R;

const NOW: i64 = 1_700_000_000_123;
const GOOD: &str = r#"{"lb":"global","player":"player-000042","score":9001,"ts_ms":1700000000000}"#;

/// What a line became: key and decoded value.
fn accepted(line: impl AsRef<[u8]>) -> (String, pb::ScoreUpdate) {
    let line = line.as_ref();
    let mut out = b"before".to_vec();
    let copy = line.to_vec();
    let encoded = Pipeline::new(ValueFormat::Protobuf)
        .line(&copy, NOW, &mut out)
        .unwrap_or_else(|rejection| panic!("{rejection:?}: {}", line.escape_ascii()));
    assert_eq!(copy, line, "the line is left as it was");
    let (key, value) = record(&out[6..], encoded);
    (String::from_utf8(key.to_vec()).unwrap(), pb::ScoreUpdate::decode(value).unwrap())
}

fn record(out: &[u8], encoded: Encoded) -> (&[u8], &[u8]) {
    let (key, value) = out.split_at(encoded.key_len as usize);
    assert_eq!(value.len(), encoded.value_len as usize);
    (key, value)
}

/// Asserts the exact rejection, that nothing was written, and that the pipeline is as good as new after it.
fn rejected(line: impl AsRef<[u8]>, expected: Rejection) {
    let line = line.as_ref();
    let mut pipeline = Pipeline::new(ValueFormat::Protobuf);
    let mut out = b"before".to_vec();
    let copy = line.to_vec();
    assert_eq!(pipeline.line(&copy, NOW, &mut out), Err(expected), "{}", line.escape_ascii());
    assert_eq!(out, b"before");
    assert_eq!(copy, line, "the line is left as it was");
    assert!(pipeline.line(GOOD.as_bytes(), NOW, &mut out).is_ok());
}

fn update(lb: &str, player: &str, score: i64, ts_ms: i64) -> pb::ScoreUpdate {
    pb::ScoreUpdate { leaderboard_id: lb.into(), player_id: player.into(), score, timestamp_ms: ts_ms }
}

/// S0-R2a, S0-R4: the key is the player.
#[test]
fn a_good_line() {
    let (key, value) = accepted(GOOD);
    assert_eq!(key, "player-000042");
    assert_eq!(value, update("global", "player-000042", 9001, 1_700_000_000_000));
}

/// S0-R2a, S0-R3.
#[test]
fn lines_that_are_accepted() {
    for (line, expected) in [
        (r#"{"lb":"g","player":"p","score":0}"#, update("g", "p", 0, NOW)),
        (r#"{"lb":"g","player":"p","score":0,"ts_ms":0}"#, update("g", "p", 0, 0)),
        (r#"{"score":1,"ts_ms":2,"player":"p","lb":"g"}"#, update("g", "p", 1, 2)),
        (" \t{ \"lb\" : \"g\" , \"player\" : \"p\" ,\t\"score\" : 1 } \r", update("g", "p", 1, NOW)),
        (
            r#"{"lb":"g","player":"p","score":9223372036854775807,"ts_ms":9223372036854775807}"#,
            update("g", "p", i64::MAX, i64::MAX),
        ),
        (
            r#"{"lb":"g","player":"p","score":1234567890123456789}"#,
            update("g", "p", 1_234_567_890_123_456_789, NOW),
        ),
        (r#"{"lb":"g","player":"p","score":9007199254740993}"#, update("g", "p", 9_007_199_254_740_993, NOW)),
        (r#"{"lb":"g","player":"p","score":-0}"#, update("g", "p", 0, NOW)),
        (
            r#"{"lb":"\u0067\n","player":"\ud83d\ude00\"\\\/\b\f\r\t","score":1}"#,
            update("g\n", "\u{1f600}\"\\/\u{8}\u{c}\r\t", 1, NOW),
        ),
        (r#"{"lb":"a\u0000b","player":"\u0000","score":1}"#, update("a\0b", "\0", 1, NOW)),
        (r#"{"\u006cb":"g","player":"p","score":1}"#, update("g", "p", 1, NOW)),
        (
            "{\"lb\":\"\u{e4}\",\"player\":\"\u{1f600}\u{7f}\",\"score\":1}",
            update("\u{e4}", "\u{1f600}\u{7f}", 1, NOW),
        ),
        (r#"{"lb":"g","player":"{\"lb\":\"x\"}","score":1}"#, update("g", r#"{"lb":"x"}"#, 1, NOW)),
    ] {
        let (key, value) = accepted(line);
        assert_eq!(value, expected, "{line}");
        assert_eq!(key, expected.player_id, "S0-R4");
    }
}

/// S0-R2a: unknown members are ignored, whatever valid JSON they hold, also when they repeat.
#[test]
fn unknown_members_are_ignored() {
    for unknown in [
        r#""x":null"#,
        r#""x":true"#,
        r#""x":1.5e3"#,
        r#""x":"y","x":"z""#,
        r#""":"""#,
        r#""LB":1"#,
        r#""lb ":1"#,
        r#""l":1"#,
        r#""x":{"lb":"no","player":"no","score":-1,"ts_ms":null,"a":[{},[],[1,{"lb":2}]]}"#,
        r#""x":[]"#,
        r#""x":{}"#,
        r#""x":[[],{}]"#,
        r#""x":99999999999999999999"#,
        r#""x":-99999999999999999999"#,
        r#""x":18446744073709551615"#,
    ] {
        for line in [
            format!(r#"{{{unknown},"lb":"g","player":"p","score":1}}"#),
            format!(r#"{{"lb":"g",{unknown},"player":"p","score":1}}"#),
            format!(r#"{{"lb":"g","player":"p","score":1,{unknown}}}"#),
        ] {
            assert_eq!(accepted(&line).1, update("g", "p", 1, NOW), "{line}");
        }
    }
}

/// S0-R3: characters are Unicode scalar values, so the byte cap is four times the number.
#[test]
fn lengths_count_characters() {
    for c in ["a", "\u{e4}", "\u{20ac}", "\u{1f600}", "\\n", "\\u00e4", "\\ud83d\\ude00"] {
        let line = |lb: usize, player: usize| {
            format!(r#"{{"lb":"{}","player":"{}","score":1}}"#, c.repeat(lb), c.repeat(player))
        };
        assert_eq!(accepted(line(64, 128)).1.player_id.chars().count(), 128, "{c}");
        rejected(line(65, 1), R::LbTooLong);
        rejected(line(1, 129), R::PlayerTooLong);
        rejected(line(0, 1), R::LbEmpty);
        rejected(line(1, 0), R::PlayerEmpty);
    }
}

/// S0-R3, S0-E2: a broken rule, with its field.
#[test]
fn lines_that_break_a_rule() {
    for (line, expected) in [
        ("{}", R::LbMissing),
        (r#"{"player":"p","score":1,"ts_ms":1}"#, R::LbMissing),
        (r#"{"lb":"g","score":1,"ts_ms":1}"#, R::PlayerMissing),
        (r#"{"lb":"g","player":"p","ts_ms":1}"#, R::ScoreMissing),
        (r#"{"LB":"g","player":"p","score":1}"#, R::LbMissing),
        (r#"{"x":{"lb":"g"},"player":"p","score":1}"#, R::LbMissing),
        (r#"{"lb":1,"player":"p","score":1}"#, R::LbMistyped),
        (r#"{"lb":null,"player":"p","score":1}"#, R::LbMistyped),
        (r#"{"lb":["g"],"player":"p","score":1}"#, R::LbMistyped),
        (r#"{"lb":"g","player":2,"score":1}"#, R::PlayerMistyped),
        (r#"{"lb":"g","player":{"a":"b"},"score":1}"#, R::PlayerMistyped),
        (r#"{"lb":"g","player":"p","score":"1"}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":null}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":true}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":[1]}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":{}}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":9000.0}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":9e3}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":0.5}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":-0.5}"#, R::ScoreMistyped),
        (r#"{"lb":"g","player":"p","score":1,"ts_ms":null}"#, R::TsMsMistyped),
        (r#"{"lb":"g","player":"p","score":1,"ts_ms":"1"}"#, R::TsMsMistyped),
        (r#"{"lb":"g","player":"p","score":1,"ts_ms":1.0}"#, R::TsMsMistyped),
        (r#"{"lb":"g","player":"p","score":-1}"#, R::ScoreNegative),
        (r#"{"lb":"g","player":"p","score":-9223372036854775808}"#, R::ScoreNegative),
        (r#"{"lb":"g","player":"p","score":-99999999999999999999}"#, R::ScoreNegative),
        (r#"{"lb":"g","player":"p","score":9223372036854775808}"#, R::ScoreOutOfRange),
        (r#"{"lb":"g","player":"p","score":18446744073709551615}"#, R::ScoreOutOfRange),
        (r#"{"lb":"g","player":"p","score":18446744073709551616}"#, R::ScoreOutOfRange),
        (r#"{"lb":"g","player":"p","score":99999999999999999999999999}"#, R::ScoreOutOfRange),
        (r#"{"lb":"g","player":"p","score":1,"ts_ms":-1}"#, R::TsMsNegative),
        (r#"{"lb":"g","player":"p","score":1,"ts_ms":9223372036854775808}"#, R::TsMsOutOfRange),
        (r#"{"lb":"","player":"p","score":1}"#, R::LbEmpty),
        (r#"{"lb":"g","player":"","score":1}"#, R::PlayerEmpty),
        (r#"{"lb":"g","lb":"g","player":"p","score":1}"#, R::LbDuplicate),
        (r#"{"lb":"g","player":"p","player":"q","score":1}"#, R::PlayerDuplicate),
        (r#"{"lb":"g","player":"p","score":1,"score":1}"#, R::ScoreDuplicate),
        (r#"{"lb":"g","player":"p","score":1,"ts_ms":1,"ts_ms":1}"#, R::TsMsDuplicate),
        (r#"{"lb":"g","player":"p","score":1,"\u006cb":"g"}"#, R::LbDuplicate),
        (r#"{"lb":"g","lb":1,"player":"p","score":1}"#, R::LbDuplicate),
        (r#"["g","p",1,2]"#, R::NotAnObject),
        (r#"[{"lb":"g","player":"p","score":1}]"#, R::NotAnObject),
        ("[]", R::NotAnObject),
        ("\"lb\"", R::NotAnObject),
        ("17", R::NotAnObject),
        ("null", R::NotAnObject),
    ] {
        rejected(line, expected);
    }
}

/// S0-E1: not JSON at all. Every prefix of a good line belongs here too.
#[test]
fn lines_that_cannot_be_read() {
    for line in [
        "hello",
        "{",
        "}",
        "{]",
        "{\"lb\"",
        "{\"lb\":}",
        "{\"lb\":\"g\",}",
        "{,}",
        " ",
        "\t\r",
        "\0",
        "tru",
        "nul",
        "-",
        "+1",
        "01",
        ".5",
        "1.",
        "NaN",
        "'a'",
        r#"{"lb":"g","player":"p","score":01}"#,
        r#"{"lb":"g","player":"p","score":+1}"#,
        r#"{"lb":"g","player":"p","score":1.}"#,
        r#"{"lb":"g","player":"p","score":1e}"#,
        r#"{"lb":"g","player":"p","score":0x10}"#,
        r#"{"lb":"g","player":"p","score":1_000}"#,
        r#"{"lb":"g","player":"p","score":NaN}"#,
        r#"{"lb":"g","player":"p","score":Infinity}"#,
        r#"{"lb":"g","player":"p","score":}"#,
        r#"{"lb":"g","player":"p","score":1,}"#,
        r#"{"lb":"g" "player":"p","score":1}"#,
        r#"{"lb" "g","player":"p","score":1}"#,
        r#"{lb:"g","player":"p","score":1}"#,
        r#"{'lb':"g","player":"p","score":1}"#,
        r#"{"lb":"g","player":"p","score":1}}"#,
        r#"{"lb":"g","player":"p","score":1} x"#,
        r#"{"lb":"g","player":"p","score":1}{"lb":"g","player":"p","score":1}"#,
        r#"{"lb":"g","player":"p","score":1}//"#,
        r#"{"lb":"g","player":"p","score":1,"x":tru}"#,
        r#"{"lb":"g","player":"p","score":1,"x":[1,]}"#,
        r#"{"lb":"\q","player":"p","score":1}"#,
        r#"{"lb":"\u12g4","player":"p","score":1}"#,
        r#"{"lb":"\ud800","player":"p","score":1}"#,
        r#"{"lb":"\udc00","player":"p","score":1}"#,
        r#"{"lb":"\ud800\ud800","player":"p","score":1}"#,
        r#"{"lb":"\ud800x","player":"p","score":1}"#,
        r#"{"lb":"g","player":"p","score":1,"x":"\udfff"}"#,
        "{\"lb\":\"g\",\"player\":\"a\0b\",\"score\":1}",
        "{\"lb\":\"g\",\"player\":\"a\tb\",\"score\":1}",
        "{\"lb\":\"g\",\"player\":\"a\u{1f}b\",\"score\":1}",
        "{\"lb\":\"g\",\"player\":\"p\",\"score\":1}\0",
        "\0{\"lb\":\"g\",\"player\":\"p\",\"score\":1}",
        "{\"lb\":\"g\",\0\"player\":\"p\",\"score\":1}",
        "\u{feff}{\"lb\":\"g\",\"player\":\"p\",\"score\":1}",
        "{\"lb\":\"g\",\u{a0}\"player\":\"p\",\"score\":1}",
    ] {
        rejected(line, R::NotJson);
    }
    for cut in 1..GOOD.len() {
        rejected(&GOOD[..cut], R::NotJson);
    }
    rejected("", R::NotJson);
}

/// S0-E1: whatever else is wrong with such a line.
#[test]
fn lines_that_are_not_utf8() {
    for line in [
        &b"\xff"[..],
        b"{\"lb\":\"\xff\",\"player\":\"p\",\"score\":1}",
        b"{\"lb\":\"g\",\"player\":\"\xc3\",\"score\":1}",
        b"{\"lb\":\"g\",\"player\":\"\xed\xa0\x80\",\"score\":1}",
        b"{\"lb\":\"g\",\"player\":\"\xc0\x80\",\"score\":1}",
        b"{\"lb\":\"g\",\"player\":\"\xf4\x90\x80\x80\",\"score\":1}",
        b"{\"lb\":\"g\",\"player\":\"p\",\"score\":1,\"x\":\"\x80\"}",
        b"{\"lb\":\"g\",\"player\":\"p\",\"score\":1\xa0}",
        b"{\"lb\":\"\\n\xff\",\"player\":\"p\",\"score\":}",
    ] {
        rejected(line, R::NotUtf8);
    }
}

/// S0-E1: nesting costs a bounded stack, in whatever depth it comes.
#[test]
fn nesting_is_bounded() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"lb":"g","player":"p","score":1,"x":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
        assert_eq!(accepted(nested(open, close, MAX_DEPTH - 1)).1, update("g", "p", 1, NOW));
        rejected(nested(open, close, MAX_DEPTH), R::TooDeep);
        rejected(nested(open, close, 5_000), R::TooDeep);
    }
    rejected("[".repeat(65_536), R::TooDeep);
    rejected("{\"\":".repeat(16_384), R::TooDeep);
}

/// S0-R2a: the gateway's clock stands in, and a clock before 1970 does not make a good line bad.
#[test]
fn a_missing_time_is_now() {
    let mut out = Vec::new();
    let encoded = Pipeline::new(ValueFormat::Protobuf)
        .line(br#"{"lb":"g","player":"p","score":1}"#, -5, &mut out)
        .unwrap();
    assert_eq!(pb::ScoreUpdate::decode(record(&out, encoded).1).unwrap().timestamp_ms, 0);
}

fn frame(bytes: &[u8]) -> Result<pb::ScoreUpdate, Rejection> {
    let mut out = b"before".to_vec();
    let result = Pipeline::new(ValueFormat::Protobuf).frame(bytes, NOW, &mut out);
    if result.is_err() {
        assert_eq!(out, b"before");
    }
    result.map(|encoded| {
        let (key, value) = record(&out[6..], encoded);
        let value = pb::ScoreUpdate::decode(value).unwrap();
        assert_eq!(key, value.player_id.as_bytes(), "S0-R4");
        value
    })
}

/// S0-R2b, S0-R3.
#[test]
fn frames() {
    let whole = update("g", "p", 7, 9).encode_to_vec();
    let with = |more: &[u8]| [&whole, more].concat();
    for (bytes, expected) in [
        (whole.clone(), Ok(update("g", "p", 7, 9))),
        (update("g", "p", 0, 9).encode_to_vec(), Ok(update("g", "p", 0, 9))),
        (update("g", "p", 7, 0).encode_to_vec(), Ok(update("g", "p", 7, NOW))),
        (update("g", "p", i64::MAX, i64::MAX).encode_to_vec(), Ok(update("g", "p", i64::MAX, i64::MAX))),
        (with(&[0x18, 5]), Ok(update("g", "p", 5, 9))), // the last one wins
        (with(&[0x0a, 1, b'h']), Ok(update("h", "p", 7, 9))),
        (with(&[0x28, 1, 0x32, 2, 0xff, 0xff]), Ok(update("g", "p", 7, 9))), // unknown fields
        (vec![], Err(R::FrameEmpty)),
        (update("", "p", 7, 9).encode_to_vec(), Err(R::LbEmpty)),
        (update("g", "", 7, 9).encode_to_vec(), Err(R::PlayerEmpty)),
        (update(&"\u{e4}".repeat(65), "p", 7, 9).encode_to_vec(), Err(R::LbTooLong)),
        (update("g", &"p".repeat(129), 7, 9).encode_to_vec(), Err(R::PlayerTooLong)),
        (update("g", "p", -1, 9).encode_to_vec(), Err(R::ScoreNegative)),
        (update("g", "p", 7, i64::MIN).encode_to_vec(), Err(R::TsMsNegative)),
        (with(&[0x0a, 1, 0xff]), Err(R::NotProtobuf)), // not UTF-8
        (with(&[0x0a, 9, b'h']), Err(R::NotProtobuf)), // longer than the frame
        (with(&[0x1a, 1, b'h']), Err(R::NotProtobuf)), // score as a string
        (with(&[0x00, 1]), Err(R::NotProtobuf)),       // field 0
        (with(&[0x2f]), Err(R::NotProtobuf)),          // wire type 7
        (with(&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(R::NotProtobuf)),
        ([0x2b].repeat(60_000), Err(R::NotProtobuf)), // groups in groups
        (GOOD.as_bytes().to_vec(), Err(R::NotProtobuf)),
    ] {
        assert_eq!(frame(&bytes), expected, "{}", bytes.escape_ascii());
    }
    for cut in 1..whole.len() {
        assert!(frame(&whole[..cut]).is_err() || [6, 8].contains(&cut), "cut at {cut}");
    }
}

/// S0-PB: what `protoc --encode=leaderboard.ScoreUpdate` (libprotoc 35.1) writes, byte for byte.
#[test]
fn values_are_what_protoc_writes() {
    let long_lb = "l".repeat(64);
    let long_player = "p".repeat(128);
    let long =
        [b"\x0a\x40", long_lb.as_bytes(), b"\x12\x80\x01", long_player.as_bytes(), b"\x18\x01"].concat();
    for (lb, player, score, ts_ms, bytes) in [
        (
            "global",
            "player-000042",
            9001,
            1_700_000_000_000,
            &b"\x0a\x06global\x12\x0dplayer-000042\x18\xa9\x46\x20\x80\xd0\x95\xff\xbc\x31"[..],
        ),
        ("g", "p", 0, 0, b"\x0a\x01g\x12\x01p"),
        ("g", "p", 127, 128, b"\x0a\x01g\x12\x01p\x18\x7f\x20\x80\x01"),
        (
            "\u{e4}",
            "\u{1f600}",
            i64::MAX,
            i64::MAX,
            b"\x0a\x02\xc3\xa4\x12\x04\xf0\x9f\x98\x80\x18\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x20\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ),
        (&long_lb, &long_player, 1, 0, &long),
    ] {
        let update = ScoreUpdate { leaderboard: lb, player, score, ts_ms };
        let mut out = Vec::new();
        let encoded = Pipeline::new(ValueFormat::Protobuf).update(&update, &mut out).unwrap();
        assert_eq!(record(&out, encoded), (player.as_bytes(), bytes), "S0-PB: {update:?}");
    }
}

/// S0-PB, S0-R4: both formats read back by a library, for values of every length.
#[test]
fn values_equal_what_the_libraries_encode() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut pb_pipeline = Pipeline::new(ValueFormat::Protobuf);
    let mut json_pipeline = Pipeline::new(ValueFormat::Json);
    for _ in 0..5_000 {
        let text = |random: &mut fastrand::Rng, max: usize| -> String {
            let chars = random.usize(1..=max);
            (0..chars)
                .map(|_| if random.bool() { random.char(..) } else { random.char('\0'..'\u{80}') })
                .collect()
        };
        let number = |random: &mut fastrand::Rng| random.i64(0..) >> random.u32(..63);
        let (lb, player) = (text(&mut random, 64), text(&mut random, 128));
        let (score, ts_ms) = (number(&mut random), number(&mut random));
        let given = ScoreUpdate { leaderboard: &lb, player: &player, score, ts_ms };
        let expected = update(&lb, &player, score, ts_ms);

        let mut out = Vec::new();
        let encoded = pb_pipeline.update(&given, &mut out).unwrap();
        assert_eq!(record(&out, encoded), (player.as_bytes(), expected.encode_to_vec().as_slice()));

        let mut out = Vec::new();
        let encoded = json_pipeline.update(&given, &mut out).unwrap();
        let (key, value) = record(&out, encoded);
        assert_eq!(key, player.as_bytes());
        let read: serde_json::Value = serde_json::from_slice(value).unwrap();
        assert_eq!(read, serde_json::json!({"lb": lb, "player": player, "score": score, "ts_ms": ts_ms}));
        // What we write we also read, and write alike.
        let mut again = Vec::new();
        json_pipeline.line(value, NOW, &mut again).unwrap();
        assert_eq!(again, out);
    }
}

/// S0-R4: order and escapes of the JSON value.
#[test]
fn the_json_value_has_its_members_in_order() {
    let mut out = Vec::new();
    let given = ScoreUpdate { leaderboard: "a\"\\", player: "\n\0\u{1f600}", score: 0, ts_ms: 5 };
    let encoded = Pipeline::new(ValueFormat::Json).update(&given, &mut out).unwrap();
    let value = std::str::from_utf8(record(&out, encoded).1).unwrap();
    assert_eq!(value, "{\"lb\":\"a\\\"\\\\\",\"player\":\"\\n\\u0000\u{1f600}\",\"score\":0,\"ts_ms\":5}");
}

/// S2-R14: the library face holds to the same rules.
#[test]
fn an_update_is_validated() {
    let good = ScoreUpdate { leaderboard: "g", player: "p", score: 0, ts_ms: 0 };
    for (given, expected) in [
        (ScoreUpdate { leaderboard: "", ..good }, R::LbEmpty),
        (ScoreUpdate { player: &"p".repeat(129), ..good }, R::PlayerTooLong),
        (ScoreUpdate { score: -1, ..good }, R::ScoreNegative),
        (ScoreUpdate { ts_ms: -1, ..good }, R::TsMsNegative),
    ] {
        let mut out = vec![1];
        assert_eq!(Pipeline::new(ValueFormat::Protobuf).update(&given, &mut out), Err(expected));
        assert_eq!(out, [1]);
    }
}
