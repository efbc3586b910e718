//! Simulation by seed: the real sessions, hub, hand-over, feeder, lanes and accounts in virtual time, between
//! senders that cut, stall and reset and a broker that delays, refuses and loses answers.
//!
//! The oracle is the ledger, and a model of what each sender was told (`truth`, `account`, `verdict`).
//! `SIM_SEED=N` replays one run and shows each turn, `SIM_SEEDS=N` runs so many, `SIM_FROM=N` begins there,
//! `SIM_FOREVER=1` (or `SIM_SEEDS=0`) runs ever new ones until stopped.

mod account;
mod broker;
mod kafka_side;
mod peer;
mod plan;
mod poll_side;
mod script;
mod stream;
mod truth;
mod verdict;
mod web;
mod world;

use std::collections::BTreeMap;
use std::time::Instant;

use world::World;

const SEEDS: u64 = 10_000;

/// Says how to see a failure again.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("\nseed {seed} failed; see it again:");
            eprintln!("  SIM_SEED={seed} cargo test --profile fast --test simulation -- --nocapture\n");
        }
    }
}

/// What one run came to, for the summary.
#[derive(Default)]
struct Sums {
    runs: u64,
    events: u64,
    accepted: u64,
    outcomes: [u64; 6],
    lost: u64,
    /// Over HTTP, by status.
    answers: BTreeMap<u16, u64>,
    /// Runs that came there.
    sights: [u64; 8],
}

fn run(seed: u64, is_verbose: bool, sums: &mut Sums) {
    let replay = Replay(seed);
    let mut world = World::new(seed, is_verbose);
    if is_verbose {
        println!("{:#?}", world.plan);
    }
    world.run();
    for (status, count) in verdict::check(&world) {
        *sums.answers.entry(status).or_default() += count;
    }
    let account = world.shared.ledger.account();
    if is_verbose {
        println!("{account:?} after {} us of virtual time", world.now_us);
    }
    sums.runs += 1;
    sums.events += world.events;
    sums.accepted += account.accepted;
    sums.lost += account.lost;
    for (sum, count) in sums.outcomes.iter_mut().zip(account.outcomes) {
        *sum += count;
    }
    let seen = world.sights;
    let seen = [
        seen.paused_queue,
        seen.paused_lane,
        seen.paused_answers,
        seen.channel_full,
        seen.held_back,
        seen.partial,
        seen.late,
        seen.let_go,
    ];
    for (sum, count) in sums.sights.iter_mut().zip(seen) {
        *sum += u64::from(count > 0);
    }
    drop(replay);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_seed_balances_and_tells_the_truth() {
    let mut sums = Sums::default();
    if let Some(seed) = number("SIM_SEED") {
        return run(seed, true, &mut sums);
    }
    let is_endless = number("SIM_FOREVER") == Some(1) || number("SIM_SEEDS") == Some(0);
    let from = number("SIM_FROM").unwrap_or(if is_endless { fastrand::u64(..1 << 48) } else { 0 });
    let count = if is_endless { 1 << 60 } else { number("SIM_SEEDS").unwrap_or(SEEDS) };
    let began = Instant::now();
    for seed in from..from + count {
        run(seed, false, &mut sums);
        if sums.runs % 10_000 == 0 {
            let seconds = began.elapsed().as_secs_f64();
            println!(
                "{} seeds, {} events, {} messages, outcomes {:?}, lost {}, {seconds:.1} s",
                sums.runs, sums.events, sums.accepted, sums.outcomes, sums.lost
            );
            println!("  answers over HTTP: {:?}", sums.answers);
            println!(
                "  runs that saw queue, lane, answers paused, channel full, held, partial, late, let go: {:?}",
                sums.sights
            );
        }
    }
}
