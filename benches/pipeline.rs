//! Payload to record, ns a record: `cargo bench --bench pipeline`.
//!
//! Each sample walks 1,000 different records, so that branch predictors do not learn one of them by heart.
//! `parser` is the floor that simd-json sets by itself, for the reason behind the scanner before it.

use divan::{Bencher, counter::ItemsCount};
use prost::Message as _;
use sluice::event::pb;
use sluice::pipeline::{Pipeline, ValueFormat};

const RECORDS: usize = 1_000;
const NOW: i64 = 1_700_000_000_123;

fn main() {
    divan::main();
}

/// Different players, scores and times, 78 bytes or so a line.
fn lines(form: impl Fn(usize, u64, i64) -> String) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut line =
        || form(random.usize(..1_000_000), random.u64(1_000..100_000), NOW + random.i64(0..1_000_000));
    (0..RECORDS).map(|_| line().into_bytes()).collect()
}

fn run(
    bencher: Bencher,
    mut records: Vec<Vec<u8>>,
    mut one: impl FnMut(&mut Pipeline, &mut [u8], &mut Vec<u8>),
) {
    let mut pipeline = Pipeline::new(ValueFormat::Protobuf);
    let mut out = Vec::with_capacity(1 << 20);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        out.clear();
        for record in &mut records {
            one(&mut pipeline, record, &mut out);
        }
        out.len()
    });
}

fn run_lines(bencher: Bencher, records: Vec<Vec<u8>>) {
    run(bencher, records, |pipeline, line, out| {
        let _ = divan::black_box(pipeline.line(line, NOW, out));
    });
}

#[divan::bench]
fn line_compact(bencher: Bencher) {
    run_lines(
        bencher,
        lines(|player, score, ts| {
            format!(r#"{{"lb":"global","player":"player-{player:06}","score":{score},"ts_ms":{ts}}}"#)
        }),
    );
}

#[divan::bench]
fn line_without_time(bencher: Bencher) {
    run_lines(
        bencher,
        lines(|player, score, _| {
            format!(r#"{{"lb":"global","player":"player-{player:06}","score":{score}}}"#)
        }),
    );
}

#[divan::bench]
fn line_with_blanks(bencher: Bencher) {
    run_lines(
        bencher,
        lines(|player, score, ts| {
            format!(r#"{{"lb": "global", "player": "player-{player:06}", "score": {score}, "ts_ms": {ts}}}"#)
        }),
    );
}

#[divan::bench]
fn line_not_ascii(bencher: Bencher) {
    run_lines(
        bencher,
        lines(|player, score, ts| {
            format!(r#"{{"lb":"gl\u00f6bal","player":"spieler-{player:06}","score":{score},"ts_ms":{ts}}}"#)
                .replace("\\u00f6", "\u{f6}")
        }),
    );
}

#[divan::bench]
fn line_with_escape(bencher: Bencher) {
    run_lines(
        bencher,
        lines(|player, score, ts| {
            format!(r#"{{"lb":"gl\u00f6bal","player":"player-{player:06}","score":{score},"ts_ms":{ts}}}"#)
        }),
    );
}

#[divan::bench]
fn line_with_unknown_member(bencher: Bencher) {
    run_lines(
        bencher,
        lines(|player, score, ts| {
            format!(r#"{{"v":1,"lb":"global","player":"player-{player:06}","score":{score},"ts_ms":{ts}}}"#)
        }),
    );
}

#[divan::bench]
fn line_rejected(bencher: Bencher) {
    run_lines(
        bencher,
        lines(|player, score, ts| {
            format!(r#"{{"lb":"global","player":"player-{player:06}","score":-{score},"ts_ms":{ts}}}"#)
        }),
    );
}

#[divan::bench]
fn frame(bencher: Bencher) {
    let frames = (0..RECORDS as i64).map(|i| {
        let update = pb::ScoreUpdate {
            leaderboard_id: "global".into(),
            player_id: format!("player-{i:06}"),
            score: 9_000 + i,
            timestamp_ms: NOW + i,
        };
        update.encode_to_vec()
    });
    run(bencher, frames.collect(), |pipeline, frame, out| {
        let _ = divan::black_box(pipeline.frame(frame, NOW, out));
    });
}

mod parser {
    use super::*;
    use simd_json::{Buffers, INPUT_PADDING, Tape};

    fn compact() -> Vec<Vec<u8>> {
        lines(|player, score, ts| {
            format!(r#"{{"lb":"global","player":"player-{player:06}","score":{score},"ts_ms":{ts}}}"#)
        })
    }

    fn tapes(
        bencher: Bencher,
        records: Vec<Vec<u8>>,
        fill: impl for<'a> Fn(&'a mut [u8], &mut Buffers, &mut Tape<'a>),
    ) {
        let (mut records, mut buffers, mut kept) = (records, Buffers::new(256), Tape(Vec::new()));
        bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
            let mut nodes = 0;
            for record in &mut records {
                let mut tape = std::mem::replace(&mut kept, Tape(Vec::new())).reset();
                fill(record, &mut buffers, &mut tape);
                nodes += tape.0.len();
                kept = tape.reset();
            }
            nodes
        });
    }

    #[divan::bench]
    fn simd_json_copied(bencher: Bencher) {
        tapes(bencher, compact(), |line, buffers, tape| simd_json::fill_tape(line, buffers, tape).unwrap());
    }

    #[divan::bench]
    fn simd_json_padded(bencher: Bencher) {
        let mut records = compact();
        records.iter_mut().for_each(|record| record.resize(record.len() + INPUT_PADDING, 0));
        tapes(bencher, records, |line, buffers, tape| {
            let length = line.len() - INPUT_PADDING;
            simd_json::fill_tape_padded(line, length, buffers, tape).unwrap();
        });
    }
}
