//! What the senders were told against where the events are.
//!
//! An event of a request without a key was sent once, and its place follows from what was told. One with a key may
//! have been sent several times: an attempt whose end nobody knew may be a record of its own (docs/http.md,
//! Idempotency-Key), and so may each item of a batch of which a part was not stored.

use std::collections::HashMap;

use crate::held::Held;
use crate::mix::{EVENTS_MAX, Plan};
use crate::told::{Account, Told};

/// What was found, for the report and for the comparison with the gateways' own account.
#[derive(Debug, Default)]
pub struct Found {
    pub events: u64,
    /// Records in the topics.
    pub records: u64,
    /// Events told `Accepted` that are in their topics, are dead letters, are named lost, are named unknown.
    pub accepted: [u64; 4],
    /// Events whose senders were told nothing certain, and those of them that are stored.
    pub doubtful: [u64; 2],
    /// Records beyond the first of an event, all of requests with a key.
    pub doubles: u64,
}

/// # Panics
/// On the first event that is not where it must be, or where it must not be.
pub fn compare(account: &Account, held: &Held) -> Found {
    let mut found =
        Found { records: held.stored.values().map(|count| u64::from(*count)).sum(), ..Found::default() };
    let (mut records, mut letters, mut lost, mut unknown) = (0, 0, 0, 0);
    let all_letters = held.letters();
    for (number, told) in account.sent() {
        let plan = Plan::of(number / EVENTS_MAX);
        let place = Place {
            records: held.stored.get(&number).copied().unwrap_or(0),
            is_letter: all_letters.contains(&number),
            is_lost: held.lost.contains(&number),
            is_unknown: held.unknown.contains(&number),
        };
        let complaint = judge(&plan, number, told, place);
        assert!(complaint.is_empty(), "{complaint}: event {number}, {told:?}, {place:?}, {plan:?}");
        found.note(told, place);
        records += u64::from(place.records);
        letters += u64::from(place.is_letter);
        lost += u64::from(place.is_lost);
        unknown += u64::from(place.is_unknown);
    }
    assert_eq!(records, found.records, "records of events that nobody sent");
    assert_eq!(letters, all_letters.len() as u64, "letters of events that nobody sent");
    assert_eq!(
        (lost, unknown),
        (held.lost.len() as u64, held.unknown.len() as u64),
        "names that nobody sent"
    );
    found
}

#[derive(Clone, Copy, Debug)]
struct Place {
    records: u8,
    is_letter: bool,
    is_lost: bool,
    is_unknown: bool,
}

/// What is wrong with an event; empty if nothing is.
fn judge(plan: &Plan, number: u64, told: &Told, place: Place) -> &'static str {
    let Place { records, is_letter, is_lost, is_unknown } = place;
    let may_be_promised = told.accepted > 0 || (told.unanswered > 0 && !plan.waits);
    let is_elsewhere = is_letter || is_lost;
    if plan.is_bad(number) {
        let is_refused = told.stored + told.accepted + told.unknown == 0;
        return if is_refused && records == 0 && !is_elsewhere {
            ""
        } else {
            "an event that breaks a rule was taken"
        };
    }
    // Attempts that may each have a record: with a key those that stored nothing certain, and in batches, which are
    // tried as a whole, every one.
    let certain = match plan.is_batch() {
        true => told.stored + told.accepted,
        false => (told.stored + told.accepted).min(1),
    };
    let is_once = told.attempts() == 1;
    match () {
        () if told.rejected > 0 => "a good event was told rejected",
        () if told.stored > 0 && records == 0 => "told stored, and it is not there",
        () if records > certain + told.doubtful() => "it is there too often, or was told not stored",
        () if (is_elsewhere || is_unknown) && !may_be_promised => "nobody was promised anything",
        () if is_letter && is_lost && is_once => "a dead letter is named lost",
        () if is_elsewhere && records > 0 && is_once => "it is stored and a dead letter, or named lost",
        () if told.accepted > 0 && records == 0 && !is_elsewhere && !is_unknown => {
            "told taken, and it is nowhere"
        }
        () => "",
    }
}

impl Found {
    fn note(&mut self, told: &Told, place: Place) {
        self.events += 1;
        self.doubles += u64::from(place.records.saturating_sub(1));
        if told.accepted > 0 {
            let places = [place.records > 0, place.is_letter, place.is_lost, place.is_unknown];
            let first = places.iter().position(|is_there| *is_there);
            first.into_iter().for_each(|place| self.accepted[place] += 1);
        }
        if told.doubtful() == told.attempts() {
            self.doubtful[0] += 1;
            self.doubtful[1] += u64::from(place.records > 0);
        }
    }
}

/// The numbers of the gateways' last lines against what was read back.
///
/// # Panics
/// When they do not agree.
pub fn compare_with_ledger(stop: &HashMap<String, u64>, account: &Account, held: &Held, found: &Found) {
    let unkeyed = |of: fn(&Told) -> u8| -> u64 {
        let own = account.sent().filter(|(number, _)| !Plan::of(number / EVENTS_MAX).is_keyed);
        own.map(|(_, told)| u64::from(of(told))).sum()
    };
    let unanswered = account.sum(|told| told.unanswered);
    let (stored, unknown) = (stop["stored"], stop["unknown"]);
    assert!((stored..=stored + unknown).contains(&found.records), "{found:?} {stop:?}");
    // One that the topic may or may not have is in the folder as well, and an event with a key may be one each time.
    let letters = held.in_topic.values().chain(held.in_folder.values()).map(|count| u64::from(*count)).sum();
    let letters = held.letters().len() as u64..=letters;
    assert!(letters.contains(&stop["dead_lettered"]), "{letters:?} {found:?} {stop:?}");
    let (lost, named) = (stop["lost"], held.lost.len() as u64);
    assert!((named..=named + unanswered).contains(&lost), "{named} named lost: {stop:?}");
    assert!(held.unknown.len() as u64 <= unknown, "{} named unknown: {stop:?}", held.unknown.len());
    let rejected = unkeyed(|told| told.rejected)..=account.sum(|told| told.rejected + told.unanswered);
    assert!(rejected.contains(&stop["rejected"]), "{rejected:?}: {stop:?}");
    assert!(unkeyed(|told| told.stored) <= stored, "{stop:?}");
    // A record that is there twice was tried again after the gateway had lost sight of the first one, or stands in a
    // batch that was tried as a whole.
    let batches: u64 = held
        .stored
        .iter()
        .filter(|(number, _)| Plan::of(*number / EVENTS_MAX).is_batch())
        .map(|(_, count)| u64::from(count.saturating_sub(1)))
        .sum();
    assert!(found.doubles - batches <= unknown, "{found:?} {stop:?}");
}
