//! What must hold once a run is over.

use std::collections::{BTreeMap, BTreeSet};

use sluice::event::Outcome;

use crate::account::{self, Told};
use crate::peer::{Peer, Talk};
use crate::plan::Speech;
use crate::poll_side::Phase;
use crate::script::{Script, Tongue, What};
use crate::truth::Truth;
use crate::web;
use crate::world::World;

/// What all senders together say of the account.
#[derive(Default)]
struct Sums {
    /// Messages that must have been counted, and that may have been.
    least: u64,
    most: u64,
    told_retry: u64,
    /// Good messages over TCP that were told `- retry`.
    retried: BTreeSet<usize>,
    tolds: Vec<web::told::Told>,
    /// Until when the senders of requests with events wait at least.
    deadlines: BTreeMap<usize, u64>,
}

/// Panics if the run does not hold what was promised; answers over HTTP by status.
pub fn check(world: &World) -> BTreeMap<u16, u64> {
    assert_eq!(world.poll.phase, Phase::Done);
    let truth = world.truth.borrow();
    let account = world.shared.ledger.account();
    assert_eq!(account.in_flight(), 0, "in flight at the end: {account:?}");
    assert_eq!(
        (world.shared.budget.records(), world.shared.budget.bytes()),
        (0, 0),
        "the buffer is not empty"
    );
    let reported = |outcome: Outcome| truth.reports[outcome.index()];
    let letters = |outcome: Outcome| truth.letter_reports[outcome.index()];
    assert_eq!(account.of(Outcome::Stored), reported(Outcome::Stored), "stored as reported");
    let unknown = reported(Outcome::Unknown) + letters(Outcome::Unknown);
    assert_eq!(account.of(Outcome::Unknown), unknown, "unknown as reported");
    assert_eq!(account.of(Outcome::DeadLettered), letters(Outcome::Stored), "dead letters as reported");
    assert_eq!(account.of(Outcome::Dropped), 0);
    if world.plan.web.keys.0.is_zero() || !world.plan.has_http() {
        assert_eq!(world.poll.hub.stats().held_bytes, 0, "memory that nobody holds any more");
    }
    if world.plan.letter_sources.is_empty() {
        assert!(account.of(Outcome::NotStored) >= reported(Outcome::NotStored));
    }
    if world.plan.is_healthy() {
        assert_eq!((world.kafka.rebuilt, world.kafka.closed), (0, 0), "given up without need");
    }

    let mut sums = Sums::default();
    for (index, peer) in world.peers.iter().enumerate() {
        match &peer.talk {
            Talk::Tcp(script, told) => check_tcp(world, index, script, told, &truth, &mut sums),
            Talk::Http(script, told) => check_http(world, index, script, told, &truth, &mut sums),
        }
    }
    if world.plan.web.keeps_keys() {
        web::keys::check(&truth);
    }
    assert!(account.accepted <= sums.most, "accepted {} of at most {}", account.accepted, sums.most);
    if world.peers.iter().all(|peer| is_read_out(world) && is_whole(peer)) {
        assert!(account.accepted >= sums.least, "accepted {} of at least {}", account.accepted, sums.least);
    }
    check_lost(world, &truth, &sums);
    let mut answers = BTreeMap::new();
    for answer in sums.tolds.iter().flat_map(|told| &told.answers) {
        *answers.entry(answer.status).or_default() += 1;
    }
    answers
}

/// Lost = not stored and not told.
fn check_lost(world: &World, truth: &Truth, sums: &Sums) {
    let account = world.shared.ledger.account();
    let not_stored = account.of(Outcome::NotStored);
    if !world.plan.has_http() {
        return assert_eq!(account.lost, not_stored - sums.told_retry, "lost: {account:?}");
    }
    // Events that found no room are not stored, and told so; they have no record to be followed by.
    let goods = truth.goods.iter().enumerate().filter(|(_, good)| good.post.is_none() && good.is_gone());
    let is_untold = |id: usize| !sums.retried.contains(&id);
    let is_rejected = |id: usize| {
        // Its sender is told `- fix`, or nobody is; a dead letter that has no way is not stored.
        let is_letter = world.plan.letter_sources.contains(&truth.goods[id].topic) && !is_asked(world, id);
        truth.goods[id].own.reported == Some(Outcome::Rejected) && !is_letter
    };
    let tcp = goods.filter(|(id, _)| is_untold(*id) && !is_rejected(*id)).count() as u64;
    let (least, most) = web::verdict::lost(&sums.tolds, &sums.deadlines, truth);
    assert!(account.lost >= tcp + least, "lost at least {tcp} + {least}: {account:?}");
    // A message over TCP that waited for its lane to the end has no record; each connection has one at most.
    let parked = world.peers.iter().filter(|peer| !peer.is_http()).count() as u64;
    assert!(account.lost <= tcp + most + parked, "lost at most {tcp} + {most} + {parked}: {account:?}");
}

/// Whether the sender of a message over TCP asked to be told of it.
fn is_asked(world: &World, id: usize) -> bool {
    let conn = world.truth.borrow().goods[id].conn;
    matches!(&world.plan.peers[conn].0, Speech::Tcp(style) if style.tongue == Tongue::AckLines)
}

fn is_read_out(world: &World) -> bool {
    world.poll.hub.stats().unread_bytes == 0
}

fn check_tcp(world: &World, index: usize, script: &Script, told: &Told, truth: &Truth, sums: &mut Sums) {
    let (peer, plan) = (&world.peers[index], &world.plan);
    let is_whole = is_read_out(world) && is_whole(peer);
    let retried = account::check_at_the_end(&peer.wire.borrow().said, script, truth);
    sums.told_retry += retried.len() as u64;
    sums.retried.extend(retried.into_iter().flatten());
    let (fewest, greatest) = count(peer, script);
    sums.least += fewest;
    sums.most += greatest;
    if let Some(n) = told.closed {
        assert!(n <= greatest, "connection {index}: . {n} of at most {greatest}");
        assert!(n >= fewest || !is_whole, "connection {index}: . {n} of at least {fewest}");
    }
    // Whoever ended well and read on was told about everything.
    let asked = matches!(&plan.peers[index].0, Speech::Tcp(style) if style.tongue == Tongue::AckLines);
    if asked && is_whole && plan.stop_us.is_none() {
        assert_eq!(told.closed, Some(script.messages.len() as u64), "connection {index}");
        assert!(told.is_whole(), "connection {index}: an answer is cut");
    }
    if plan.is_healthy() && is_whole {
        for said in &script.messages {
            let What::Good(id) = said.what else { continue };
            assert_eq!(truth.goods[id].own.in_log, 1, "connection {index}: message {id} is not in the topic");
        }
    }
}

fn check_http(
    world: &World,
    index: usize,
    script: &web::script::Script,
    read: &web::told::Told,
    truth: &Truth,
    sums: &mut Sums,
) {
    let (peer, plan) = (&world.peers[index], &world.plan);
    let told = web::verdict::told(peer, script, plan.stop_us.is_some(), truth);
    web::verdict::check(peer, script, &told, truth);
    web::verdict::check_timeouts(peer, script, &told, !plan.has_stalls(), truth);
    if plan.is_healthy() {
        web::verdict::check_healthy(&told, truth);
    }
    sums.most += script.most_accepted(peer.sent, truth);
    let is_whole = is_whole(peer) || (read.is_closed && !peer.wire.borrow().reset);
    if is_whole && plan.stop_us.is_none() && plan.web.is_patient() {
        assert!(read.is_complete(script), "connection {index}: {} answers", read.answers.len());
        assert!(read.is_whole(), "connection {index}: an answer is cut");
    }
    sums.deadlines.extend(web::verdict::deadlines(peer, script, truth));
    sums.tolds.push(told);
}

/// Its end was seen.
fn is_whole(peer: &Peer) -> bool {
    let wire = peer.wire.borrow();
    peer.slot.is_some() && wire.seen_fin && !wire.reset && wire.taken == peer.bytes().len()
}

/// How many messages of a sender must have been counted, and how many may have been.
fn count(peer: &Peer, script: &Script) -> (u64, u64) {
    let wire = peer.wire.borrow();
    let messages = &script.messages;
    let fewest =
        messages.iter().filter(|said| said.must_from <= wire.taken && (!said.needs_end || wire.seen_fin));
    let greatest = messages.iter().filter(|said| said.may_from <= peer.sent);
    (fewest.count() as u64, greatest.count() as u64)
}
