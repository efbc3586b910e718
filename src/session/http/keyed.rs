//! Requests with an `Idempotency-Key`, or with ids of their client's own: asks the window before their events are taken,
//! and waits for it afterwards.

use super::answer::Problem;
use super::exchange::{Fate, Item, Taken};
use super::idempotency::{Ended, Found, Ticket, Waiter, Window};
use super::request::Post;
use super::{Answer, HttpSession};
use crate::event::Outcome;
use crate::handoff::Cause;
use crate::pipeline::events::{self, Items};
use crate::session::intake::Intake;

/// How a request with a key goes on.
pub(super) enum Recalled {
    /// Its events are to be taken; under this key, if it has one that finds room.
    New(Option<Ticket>),
    /// It has one that finds none.
    NoRoom,
    /// It has its answer, or waits for it.
    Answered,
}

impl HttpSession {
    /// What the window knows of this request, by its key or the ids that its events came with. `empty`: its answer
    /// without events.
    pub(super) fn recall(
        &mut self,
        post: &Post,
        body: &[u8],
        items: &Items,
        empty: &Taken,
        address: (u32, u16),
        intake: &mut Intake<'_>,
    ) -> Recalled {
        if !intake.web.window.is_on() {
            return Recalled::New(None);
        }
        let key = match post.idempotency_key.as_deref() {
            Some(key) => Key::Given(key),
            None => match events::client_ids(post.route, items, body) {
                Some(ids) => Key::Ids(ids),
                None => return Recalled::New(None),
            },
        };
        let (window, events) = (&mut intake.web.window, items.len());
        let (name, content) = digests(window, post, &key, body);
        let waits = empty.waits;
        match window.find(name, content, intake.now.us) {
            Found::Nothing if events > intake.room.records || !intake.room.is_open() => Recalled::New(None),
            Found::Nothing => match window.open(name, content, events, intake.now.us) {
                // Nobody asked to be remembered.
                None if matches!(key, Key::Ids(_)) => Recalled::New(None),
                None => Recalled::NoRoom,
                ticket => Recalled::New(ticket),
            },
            Found::Conflict => {
                let detail = match key {
                    Key::Given(_) => "this Idempotency-Key came with another body before",
                    Key::Ids(_) => "this event_id came with another body before",
                };
                let problem = Problem {
                    outcome: Some("not_stored"),
                    ..Problem::of(409, "idempotency_conflict", detail)
                };
                self.refuse(problem, post.manner, &[]);
                Recalled::Answered
            }
            Found::Kept(items) => {
                let items = told(items, waits);
                self.push_taken(Taken { items, ..empty.clone() });
                Recalled::Answered
            }
            Found::Open { ticket, serial, items } => {
                let items = items.to_vec();
                let open = items.iter().filter(|item| item.fate == Fate::Open).count();
                if !window.join(ticket, Waiter { slot: address.0, generation: address.1 }) {
                    return Recalled::NoRoom;
                }
                self.push_taken(Taken { items, open, serial: Some(serial), is_echo: true, ..empty.clone() });
                Recalled::Answered
            }
        }
    }

    /// The events of a request with a key were taken or refused: the window follows them from here.
    pub(super) fn follow(
        &mut self,
        ticket: Ticket,
        mut taken: Taken,
        address: (u32, u16),
        intake: &mut Intake<'_>,
    ) {
        let window = &mut intake.web.window;
        taken.serial = window.fill(ticket, taken.items.clone());
        if taken.waits && taken.serial.is_some() {
            window.wait(ticket, Waiter { slot: address.0, generation: address.1 });
        } else {
            if taken.serial.is_some() {
                window.accept(ticket);
            }
            taken.queue();
        }
        self.push_taken(taken);
    }

    /// The outcome that a request of this connection waited for. `is_first`: nobody else has been told. Whether it still
    /// waits, and is told.
    pub fn share(&mut self, ended: &Ended, is_first: bool, now_us: u64) -> bool {
        let waits_for_it = |answer: &&mut Answer| match answer {
            Answer::Waiting(taken) => taken.open > 0 && taken.serial == Some(ended.serial),
            Answer::Ready(..) => false,
        };
        let found = self.answers.iter_mut().find(waits_for_it);
        let is_told = found.is_some();
        if let Some(answer) = found {
            let before = answer.bytes();
            if let Answer::Waiting(taken) = answer {
                taken.items = told(&ended.items, taken.waits);
                taken.open = 0;
                taken.is_echo = !is_first;
            }
            self.held = self.held + answer.bytes() - before;
        }
        self.ripen(now_us);
        is_told
    }
}

/// What makes a request the same as another one.
enum Key<'a> {
    Given(&'a [u8]),
    /// The ids of its events, each 16 bytes.
    Ids(Vec<u8>),
}

/// What stands for a key, by route and sender, and for everything that makes its events what they are.
fn digests(
    window: &Window,
    post: &Post,
    key: &Key<'_>,
    body: &[u8],
) -> (super::idempotency::Digest, super::idempotency::Digest) {
    let sender = post.client.to_string();
    // A key that was given is never empty, so the two kinds never meet.
    let (given, ids) = match key {
        Key::Given(key) => (*key, &[][..]),
        Key::Ids(ids) => (&[][..], &ids[..]),
    };
    let name = window.digest(&[post.route.path().as_bytes(), sender.as_bytes(), given, ids]);
    let content_type = post.content_type.as_deref().unwrap_or_default();
    let content = window.digest(&[&[post.kind as u8], content_type, &post.attributes, body]);
    (name, content)
}

/// Who did not ask for delivery is told what the first request was told.
fn told(items: &[Item], waits: bool) -> Vec<Item> {
    let mut items = items.to_vec();
    let stored = Fate::Ended { outcome: Outcome::Stored, cause: Cause::Delivered };
    for item in items.iter_mut().filter(|item| !waits && item.fate == stored) {
        item.fate = Fate::Queued;
    }
    items
}
