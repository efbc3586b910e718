//! Body to records, ns an event: `cargo bench --bench events`.
//!
//! Each sample walks 1,000 different events, so that branch predictors do not learn one of them by heart. A single
//! event pays for its request's moment as well; a batch shares it. `serde_json` is what reading alone costs.

use divan::{Bencher, counter::ItemsCount};
use sluice::pipeline::events::{BodyKind, Circumstances, EventRules, IdempotencyKey, Layout, Moment, Route};
use sluice::pipeline::events::{event, items};

const EVENTS: usize = 1_000;
const NOW_US: u64 = 1_700_000_000_123_456;
const FRESH: [u8; 16] = [0x5a; 16];

fn main() {
    divan::main();
}

/// 1,000 bodies of one event.
fn bodies(form: impl Fn(u32, u32) -> String) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..EVENTS).map(|_| form(random.u32(..1_000_000), random.u32(10_000..100_000)).into_bytes()).collect()
}

/// S3's, 150 bytes, without id and time.
fn s3() -> Vec<Vec<u8>> {
    bodies(|player, price| {
        format!(
            r#"{{"type":"purchase","payload":{{"player":"player-{player:06}","item":"sword-of-truth","price":{price},"currency":"EUR","tags":["a","b"],"vip":true,"x":1.5}}}}"#
        )
    })
}

/// S3's with everything given.
fn s3_complete() -> Vec<Vec<u8>> {
    bodies(|player, price| {
        format!(
            r#"{{"id":"order-{player:06}-{price}","type":"purchase","timestamp":"2026-01-31T23:59:59.123Z","payload":{{"player":"player-{player:06}","price":{price}}}}}"#
        )
    })
}

fn s4() -> Vec<Vec<u8>> {
    bodies(|player, score| {
        format!(
            r#"{{"event_type":"player_score","player_id":"player-{player:06}","game_id":"game-1","timestamp":"2026-01-31T23:59:59.123Z","data":{{"score":{score},"level":12}}}}"#
        )
    })
}

fn cloud() -> Vec<Vec<u8>> {
    bodies(|player, price| {
        format!(
            r#"{{"specversion":"1.0","id":"order-{player:06}","source":"/shop/eu","type":"com.example.purchase","time":"2026-01-31T23:59:59.123Z","data":{{"price":{price}}}}}"#
        )
    })
}

fn singles(
    bencher: Bencher,
    route: Route,
    rules: &EventRules,
    kind: BodyKind,
    bodies: Vec<Vec<u8>>,
    key: bool,
) {
    let mut out = Vec::with_capacity(1 << 20);
    let key = key.then(|| IdempotencyKey::new(b"8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap());
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        out.clear();
        for body in &bodies {
            let moment = Moment::new(divan::black_box(NOW_US));
            let mut circumstances = Circumstances::new(kind, &moment, FRESH);
            circumstances.idempotency_key = key;
            for span in items(body, kind, 1000).unwrap().spans() {
                divan::black_box(event(route, rules, &body[span.clone()], &circumstances, &mut out).unwrap());
            }
        }
        out.len()
    });
}

#[divan::bench]
fn s3_single(bencher: Bencher) {
    singles(bencher, Route::Events, &EventRules::default(), BodyKind::Json, s3(), false);
}

#[divan::bench]
fn s3_single_complete(bencher: Bencher) {
    singles(bencher, Route::Events, &EventRules::default(), BodyKind::Json, s3_complete(), false);
}

#[divan::bench]
fn s3_single_as_in_the_original(bencher: Bencher) {
    let rules = EventRules { layout: Layout::Ingest, ..EventRules::default() };
    singles(bencher, Route::Events, &rules, BodyKind::Json, s3(), false);
}

#[divan::bench]
fn s3_single_with_idempotency_key(bencher: Bencher) {
    singles(bencher, Route::Events, &EventRules::default(), BodyKind::Json, s3(), true);
}

#[divan::bench]
fn s4_single(bencher: Bencher) {
    singles(bencher, Route::PlayerEvents, &EventRules::default(), BodyKind::Json, s4(), false);
}

#[divan::bench]
fn cloud_structured(bencher: Bencher) {
    singles(bencher, Route::Events, &EventRules::default(), BodyKind::CloudStructured, cloud(), false);
}

/// 10 bodies of 100 events of 80 bytes.
fn batches(bencher: Bencher, kind: BodyKind, around: [&str; 3]) {
    let lines = bodies(|player, score| {
        format!(
            r#"{{"type":"click","payload":{{"player":"player-{player:06}","score":{score},"level":1234}}}}"#
        )
    });
    assert_eq!(lines[0].len(), 80);
    let [open, between, close] = around;
    let bodies: Vec<Vec<u8>> = lines
        .chunks(100)
        .map(|lines| [open.as_bytes(), &lines.join(between.as_bytes()), close.as_bytes()].concat())
        .collect();
    let (mut out, rules) = (Vec::with_capacity(1 << 20), EventRules::default());
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        out.clear();
        for body in &bodies {
            let moment = Moment::new(divan::black_box(NOW_US));
            let circumstances = Circumstances::new(kind, &moment, FRESH);
            for span in items(body, kind, 1000).unwrap().spans() {
                let item = &body[span.clone()];
                divan::black_box(event(Route::Events, &rules, item, &circumstances, &mut out).unwrap());
            }
        }
        out.len()
    });
}

#[divan::bench]
fn ndjson_100_lines(bencher: Bencher) {
    batches(bencher, BodyKind::Ndjson, ["", "\n", "\n"]);
}

#[divan::bench]
fn array_of_100(bencher: Bencher) {
    batches(bencher, BodyKind::Json, ["[", ",", "]"]);
}

/// The floor: grammar alone, without members; members as a tree.
mod serde_json {
    use super::*;

    fn read(bencher: Bencher, one: impl Fn(&str) -> usize) {
        let bodies: Vec<_> = s3().into_iter().map(|body| String::from_utf8(body).unwrap()).collect();
        bencher
            .counter(ItemsCount::new(EVENTS))
            .bench_local(|| bodies.iter().map(|body| one(body)).sum::<usize>());
    }

    #[divan::bench]
    fn grammar(bencher: Bencher) {
        read(bencher, |body| {
            ::serde_json::from_str::<&::serde_json::value::RawValue>(body).unwrap().get().len()
        });
    }

    #[divan::bench]
    fn tree(bencher: Bencher) {
        read(bencher, |body| {
            ::serde_json::from_str::<::serde_json::Value>(body).unwrap().as_object().unwrap().len()
        });
    }
}
