//! What an `Idempotency-Key` promises: once a request is stored, no other one of its key is taken.

use sluice::event::Outcome;

use crate::truth::Truth;

/// When something happened to one request's records: the first time and the last; whether all of them are stored.
fn life(number: usize, truth: &Truth) -> Option<((u64, u64), bool)> {
    let goods = || truth.posts[number].goods().map(|id| &truth.goods[id]);
    let spans = || goods().filter_map(|good| good.span);
    let (first, last) = (spans().map(|span| span.0).min()?, spans().map(|span| span.1).max()?);
    Some(((first, last), goods().all(|good| good.own.reported == Some(Outcome::Stored))))
}

/// Every key that lasts as long as the run: requests that were taken one after the other, none after one that was
/// stored, whichever body and connection it came with.
pub fn check(truth: &Truth) {
    for (number, post) in truth.posts.iter().enumerate().filter(|(_, post)| post.key.is_some()) {
        let Some((span, true)) = life(number, truth) else { continue };
        for (other, another) in truth.posts.iter().enumerate() {
            if other == number || !another.has_key_of(post) {
                continue;
            }
            let Some((before, _)) = life(other, truth) else { continue };
            assert!(
                before.1 < span.0,
                "request {other} was taken at {before:?}, with the key of {number}, which was stored at {span:?}"
            );
        }
    }
}
