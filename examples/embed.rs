//! A host that publishes scores through Sluice without a socket: build, record, flush, close.
//!
//! Run it with `cargo run --example embed`; it brings its own broker (librdkafka's mock cluster, in memory). For a
//! real one, say `KAFKA_BOOTSTRAP_SERVERS=host:9092 cargo run --example embed`.

use std::error::Error;
use std::time::Duration;

use sluice::event::{Outcome, ScoreUpdate};
use sluice::gateway::{Gateway, GatewayOptions, RecordError};
use sluice::kafka::{Bootstrap, KafkaOptions};
use sluice::net::NetOptions;

fn main() -> Result<(), Box<dyn Error>> {
    // Options are plain values; nothing is read from the environment unless the host does it, as here.
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP_SERVERS").map_or(Bootstrap::Embedded, Bootstrap::Servers);
    let options = GatewayOptions {
        kafka: KafkaOptions { bootstrap, ..KafkaOptions::default() },
        // No listeners: a host that also wants TCP or /metrics gives them an address here.
        net: NetOptions { tcp: None, http: None, health: None, ..NetOptions::default() },
        ..GatewayOptions::default()
    };

    // Comes back at once. Records may be given right away: they wait in the buffer until Kafka is there.
    let gateway = Gateway::start(options)?;
    // Cheap to clone, one for each thread of the host.
    let recorder = gateway.recorder();

    // Fire and forget: never waits. At the high mark the work stays with its owner, who decides what to do with it;
    // a game server could drop it, a batch job like this one waits for receipts and tries again.
    for score in 0..1_000 {
        let update = ScoreUpdate { leaderboard: "global", player: "ann", score, ts_ms: 1_730_000_000_000 };
        while let Err(error) = recorder.record(&update) {
            match error {
                RecordError::Full => gateway.flush(Duration::from_millis(10)),
                error => return Err(error.into()),
            };
        }
    }

    // With a handle: this thread wants to know how the record ended, as a request handler would.
    let last = ScoreUpdate { leaderboard: "global", player: "ann", score: 1_000, ts_ms: 1_730_000_000_000 };
    match recorder.record_tracked(&last)?.wait(Duration::from_secs(10)) {
        Some((Outcome::Stored, _)) => println!("the last one is stored"),
        Some((outcome, cause)) => println!("the last one is {}: {}", outcome.name(), cause.detail()),
        None => println!("the last one is still on its way"),
    }

    // With a callback, which runs on the gateway's poll thread: be short there, and never block.
    let bonus = ScoreUpdate { leaderboard: "bonus", player: "bob", score: 7, ts_ms: 1_730_000_000_000 };
    recorder.record_then(&bonus, |outcome, _| println!("bob's bonus is {}", outcome.name()))?;

    // Everything recorded so far has ended, one way or another.
    if !gateway.flush(Duration::from_secs(10)) {
        println!("not everything has ended yet: {:?}", gateway.account());
    }
    // Drains within `drain_timeout`, and accounts for every single record.
    let summary = gateway.close()?;
    println!("{summary}");
    if summary.is_clean() { Ok(()) } else { Err("not everything was stored".into()) }
}
