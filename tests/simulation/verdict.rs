//! What must hold once a run is over.

use sluice::event::Outcome;

use crate::account;
use crate::peer::Peer;
use crate::poll_side::Phase;
use crate::script::{Tongue, What};
use crate::world::World;

/// Panics if the run does not hold what was promised.
pub fn check(world: &World) {
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
    assert_eq!(account.of(Outcome::Stored), reported(Outcome::Stored), "stored as reported");
    assert_eq!(account.of(Outcome::Unknown), reported(Outcome::Unknown), "unknown as reported");
    assert!(account.of(Outcome::NotStored) >= reported(Outcome::NotStored));
    assert_eq!(account.of(Outcome::Dropped) + account.of(Outcome::DeadLettered), 0);

    if world.plan.is_healthy() {
        assert_eq!((world.kafka.rebuilt, world.kafka.closed), (0, 0), "given up without need");
    }

    let is_read_out = world.poll.hub.stats().unread_bytes == 0;
    let is_whole = |peer: &Peer| is_read_out && is_whole(peer);
    let mut told_retry = 0;
    let (mut least, mut most) = (0, 0);
    for (index, peer) in world.peers.iter().enumerate() {
        let wire = peer.wire.borrow();
        told_retry += account::check_at_the_end(&wire.said, &peer.script, &truth);
        let (fewest, greatest) = count(peer);
        least += fewest;
        most += greatest;
        if let Some(n) = peer.told.closed {
            assert!(n <= greatest, "connection {index}: . {n} of at most {greatest}");
            assert!(n >= fewest || !is_whole(peer), "connection {index}: . {n} of at least {fewest}");
        }
        // Whoever ended well and read on was told about everything.
        let asked = world.plan.peers[index].0.tongue == Tongue::AckLines;
        if asked && is_whole(peer) && world.plan.stop_us.is_none() {
            assert_eq!(peer.told.closed, Some(peer.script.messages.len() as u64), "connection {index}");
            assert!(peer.told.is_whole(), "connection {index}: an answer is cut");
        }
        if world.plan.is_healthy() && is_whole(peer) {
            for said in &peer.script.messages {
                let What::Good(id) = said.what else { continue };
                assert_eq!(truth.goods[id].in_log, 1, "connection {index}: message {id} is not in the topic");
            }
        }
    }
    assert!(account.accepted <= most, "accepted {} of at most {most}", account.accepted);
    if world.peers.iter().all(&is_whole) {
        assert!(account.accepted >= least, "accepted {} of at least {least}", account.accepted);
    }
    let not_stored = account.of(Outcome::NotStored);
    assert_eq!(account.lost, not_stored - told_retry, "lost = not stored and not told: {account:?}");
}

/// Its end was seen.
fn is_whole(peer: &Peer) -> bool {
    let wire = peer.wire.borrow();
    peer.slot.is_some() && wire.seen_fin && !wire.reset && wire.taken == peer.script.bytes.len()
}

/// How many messages of a sender must have been counted, and how many may have been.
fn count(peer: &Peer) -> (u64, u64) {
    let wire = peer.wire.borrow();
    let messages = &peer.script.messages;
    let fewest =
        messages.iter().filter(|said| said.must_from <= wire.taken && (!said.needs_end || wire.seen_fin));
    let greatest = messages.iter().filter(|said| said.may_from <= peer.sent);
    (fewest.count() as u64, greatest.count() as u64)
}
