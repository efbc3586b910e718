//! Lines and frames to records (S0-R2..R4): what is accepted is what a second reader reads, and what is
//! refused as unreadable a second reader cannot read either.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use serde_json::Value;
use sluice::event::{Rejection, pb};
use sluice::pipeline::{Encoded, Pipeline, ValueFormat};

const NOW: i64 = 1_700_000_000_123;

fuzz_target!(|data: &[u8]| {
    line(data);
    frame(data);
});

fn line(data: &[u8]) {
    let result = one(|pipeline, out| {
        let mut line = data.to_vec();
        let result = pipeline.line(&mut line, NOW, out);
        assert_eq!(line, data);
        result
    });
    // A blank in front keeps a line from the scanner's short way: simd-json must say the same.
    let long_way = one(|pipeline, out| pipeline.line(&mut [b" ", data].concat(), NOW, out));
    assert_eq!(result, long_way);
    let read = serde_json::from_slice::<Value>(data);
    match result {
        Ok(update) => {
            let read = read.expect("accepted, so it is JSON");
            assert_eq!(read["lb"], update.leaderboard_id);
            assert_eq!(read["player"], update.player_id);
            assert_eq!(integer(&read["score"]), Some(update.score));
            assert_eq!(read.get("ts_ms").map_or(Some(NOW), integer), Some(update.timestamp_ms));
            rules_hold(&update);
        }
        Err(Rejection::NotUtf8) => assert!(std::str::from_utf8(data).is_err()),
        Err(Rejection::NotJson) => assert!(read.is_err(), "refused, and yet {read:?}"),
        Err(Rejection::NotAnObject) => assert!(!read.expect("JSON of another kind").is_object()),
        Err(Rejection::TooDeep) => assert!(data.iter().filter(|byte| b"[{".contains(byte)).count() > 64),
        Err(rejection) => {
            let field = rejection.field().expect("a broken rule names its member");
            let read = read.expect("a broken rule is about JSON that could be read");
            assert_eq!(rejection.code() == "missing", read.get(field.name()).is_none(), "{rejection:?}");
        }
    }
}

/// serde_json reads `-0` as a double.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|number| *number == 0.0).map(|_| 0))
}

fn frame(data: &[u8]) {
    let result = one(|pipeline, out| pipeline.frame(data, NOW, out));
    let read = pb::ScoreUpdate::decode(data);
    match result {
        Ok(update) => {
            let mut read = read.expect("accepted, so it is Protobuf");
            if read.timestamp_ms == 0 {
                read.timestamp_ms = NOW;
            }
            assert_eq!(update, read);
            rules_hold(&update);
        }
        Err(Rejection::FrameEmpty) => assert!(data.is_empty()),
        Err(Rejection::NotProtobuf) => assert!(read.is_err()),
        Err(rejection) => {
            assert!(rejection.field().is_some());
            assert!(!valid(&read.expect("a broken rule is about Protobuf that could be read")));
        }
    }
}

fn rules_hold(update: &pb::ScoreUpdate) {
    assert!(valid(update), "{update:?}");
}

fn valid(update: &pb::ScoreUpdate) -> bool {
    (1..=64).contains(&update.leaderboard_id.chars().count())
        && (1..=128).contains(&update.player_id.chars().count())
        && update.score >= 0
        && update.timestamp_ms >= 0
}

/// Runs both formats: they accept alike, the key is the player, and both values say the same.
fn one(
    mut run: impl FnMut(&mut Pipeline, &mut Vec<u8>) -> Result<Encoded, Rejection>,
) -> Result<pb::ScoreUpdate, Rejection> {
    let mut out = b"before".to_vec();
    let protobuf =
        run(&mut Pipeline::new(ValueFormat::Protobuf), &mut out).map(|encoded| parts(&out, encoded));
    let mut json_out = b"before".to_vec();
    let json =
        run(&mut Pipeline::new(ValueFormat::Json), &mut json_out).map(|encoded| parts(&json_out, encoded));
    let ((key, value), (json_key, json_value)) = match (protobuf, json) {
        (Ok(protobuf), Ok(json)) => (protobuf, json),
        (Err(one), Err(other)) => {
            assert_eq!(one, other);
            assert_eq!((&*out, &*json_out), (&b"before"[..], &b"before"[..]), "nothing is left behind");
            return Err(one);
        }
        different => panic!("{different:?}"),
    };
    let update = pb::ScoreUpdate::decode(value).expect("what we write is Protobuf");
    assert_eq!(value, update.encode_to_vec(), "and in prost's own bytes");
    assert_eq!((key, json_key), (update.player_id.as_bytes(), update.player_id.as_bytes()));
    let json: Value = serde_json::from_slice(json_value).expect("what we write is JSON");
    let same = serde_json::json!({
        "lb": update.leaderboard_id, "player": update.player_id, "score": update.score, "ts_ms": update.timestamp_ms,
    });
    assert_eq!(json, same);
    Ok(update)
}

fn parts(out: &[u8], encoded: Encoded) -> (&[u8], &[u8]) {
    let (key, value) = out[b"before".len()..].split_at(encoded.key_len as usize);
    assert_eq!(value.len(), encoded.value_len as usize);
    (key, value)
}
