//! What must hold of HTTP senders once a run is over.

use std::collections::{BTreeMap, BTreeSet};

use sluice::event::Outcome;

use super::post::{Ack, Post, What};
use super::script::{Ask, Exchange, Script};
use super::told::{Item, Since, Told};
use crate::peer::Peer;
use crate::truth::{Good, Truth};

/// What a sender's answers come to, as the gateway wrote them, read or not.
pub fn told(peer: &Peer, script: &Script, may_drain: bool, truth: &Truth) -> Told {
    let mut told = Told::default();
    told.read(&peer.wire.borrow().said, Since { sent: peer.sent, may_drain }, script, truth);
    told
}

/// Panics if something was taken that cannot have been.
pub fn check(peer: &Peer, script: &Script, told: &Told, truth: &Truth) {
    let taken = peer.wire.borrow().taken;
    let answered = told.answers.len();
    let has_ended = told.is_closed || (answered > 0 && script.exchanges[answered - 1].is_end);
    for (at, exchange) in script.exchanges.iter().enumerate() {
        let Ask::Post(number) = exchange.ask else { continue };
        if taken >= exchange.end && !exchange.is_cut && !(has_ended && at >= answered) {
            continue;
        }
        for id in truth.posts[number].goods() {
            let good = truth.goods[id];
            assert!(good.is_untouched(), "request {number} was not to be taken: {good:?}");
        }
    }
    for answer in &told.answers {
        let Some(post) = answer.post.map(|number| &truth.posts[number]) else { continue };
        for (index, item) in answer.items.iter().enumerate() {
            check_item(index, item, post, truth);
        }
    }
}

/// The moment at which so many bytes had been moved.
fn since(moments: &[(usize, u64)], bytes: usize) -> u64 {
    moments.iter().find(|(until, _)| *until >= bytes).map_or(u64::MAX, |(_, at_us)| *at_us)
}

/// Until when a request's sender waits at least.
fn deadline_us(peer: &Peer, exchange: &Exchange, post: &Post) -> u64 {
    since(&peer.sent_at, exchange.end).saturating_add(post.timeout_us)
}

/// The same of all requests with events, by number.
pub fn deadlines(peer: &Peer, script: &Script, truth: &Truth) -> Vec<(usize, u64)> {
    let posts = script.exchanges.iter().filter_map(|exchange| match exchange.ask {
        Ask::Post(number) => Some((number, deadline_us(peer, exchange, &truth.posts[number]))),
        Ask::Fixed(_) => None,
    });
    posts.collect()
}

/// From the end of a record to its sender's session at most, whatever the threads do.
const SLACK_US: u64 = 1_000_000;

/// "Its time is over, and nobody knows" (504, TIMEOUT): its end was not known in time, and the client library has it.
/// `is_exact`: no thread was late, so that what waited on our side was taken out in time.
pub fn check_timeouts(peer: &Peer, script: &Script, told: &Told, is_exact: bool, truth: &Truth) {
    for (answer, exchange) in told.answers.iter().zip(&script.exchanges) {
        let Some(post) = answer.post.map(|number| &truth.posts[number]).filter(|post| post.key.is_none())
        else {
            continue;
        };
        for (index, item) in answer.items.iter().enumerate().filter(|(_, item)| item.code == "TIMEOUT") {
            let Some(own) = post.good(index).map(|id| truth.goods[id].own) else { continue };
            let deadline_us = deadline_us(peer, exchange, post);
            let is_known = own.ended_us.is_some_and(|ended_us| ended_us + SLACK_US < deadline_us);
            assert!(!is_known, "{item:?} of what had ended long before {deadline_us}: {own:?}");
            let answered_us = since(&peer.written_at, answer.end);
            let is_inside = own.entered_us.is_some_and(|entered_us| entered_us <= answered_us);
            assert!(is_inside || !is_exact, "{item:?} at {answered_us} of what was still here: {own:?}");
        }
    }
}

/// Where nothing goes wrong, what was accepted is stored.
pub fn check_healthy(told: &Told, truth: &Truth) {
    for answer in &told.answers {
        let Some(post) = answer.post.map(|number| &truth.posts[number]).filter(|post| post.key.is_none())
        else {
            continue;
        };
        for (index, item) in answer.items.iter().enumerate().filter(|(_, item)| item.status == 202) {
            let good = post.good(index).map(|id| truth.goods[id].own);
            assert!(good.is_some_and(|own| own.in_log == 1), "{item:?}, but {good:?}");
        }
    }
}

/// "Accepted" and "unknown" are told before the end: now it has come.
fn check_item(index: usize, item: &Item, post: &Post, truth: &Truth) {
    let What::Good(id) = post.items[index] else { return };
    let good = truth.goods[id];
    let retries = || truth.posts.iter().filter(|other| other.has_key_of(post) && other.body == post.body);
    let is_taken =
        || retries().filter_map(|other| other.good(index)).any(|id| !truth.goods[id].is_untouched());
    match item.status {
        202 | 504 if post.key.is_some() => assert!(is_taken(), "{item:?} of nothing: {post:?}"),
        202 => {
            assert!(good.is_kept() || good.is_gone(), "{item:?} has no end: {good:?}");
            let known = truth.event_ids.get(&id);
            assert!(
                known.is_none() || known == item.event_id.as_ref(),
                "{item:?} is in the topic as {known:?}"
            );
        }
        504 => assert!(!good.is_untouched(), "{item:?} of nothing: {good:?}"),
        _ => {}
    }
}

/// Of what ended as not stored: how many the account must show as lost, and how many it may.
pub fn lost(tolds: &[Told], deadlines: &BTreeMap<usize, u64>, truth: &Truth) -> (u64, u64) {
    let (mut named, mut unsure) = (BTreeSet::new(), BTreeSet::new());
    for answer in tolds.iter().flat_map(|told| &told.answers) {
        let Some(number) = answer.post else { continue };
        for (index, item) in answer.items.iter().enumerate() {
            match (item.status, &item.code[..]) {
                (503, "overloaded") => {}
                (503 | 413 | 422, _) => drop(named.insert((number, index))),
                (504, _) => drop(unsure.insert((number, index))),
                _ => {}
            }
        }
    }
    let is_late = |good: &Good, number: usize| good.own.ended_us >= deadlines.get(&number).copied();
    let (mut least, mut most) = (0, 0);
    for good in truth.goods.iter().filter(|good| good.is_gone()) {
        let Some((number, index)) = good.post else { continue };
        let post = &truth.posts[number];
        if post.ack == Ack::Delivered && good.own.reported == Some(Outcome::Rejected) {
            // That is another outcome, whoever is told of it.
            continue;
        }
        // The answer to one that shares its end will do.
        let is_in = |told: &BTreeSet<(usize, usize)>| {
            told.iter().any(|(other, at)| *at == index && truth.posts[*other].has_key_of(post))
        };
        match () {
            () if post.key.is_none() && named.contains(&(number, index)) => {}
            () if is_in(&named) => most += 1,
            // That nobody knows does for its own sender, also where that answer found no way to it; it does not for one
            // that was told "taken".
            () if post.ack == Ack::Delivered
                && (is_late(good, number) || unsure.contains(&(number, index)) || is_in(&unsure)) =>
            {
                most += 1;
            }
            () => (least, most) = (least + 1, most + 1),
        }
    }
    (least, most)
}
