//! A whole body: inflated, split into its events, each of them into the buffer or refused.

use super::exchange::{Fate, Item, Taken};
use super::request::{Post, Refusal};
use super::store::{ANSWER_BYTES_MAX, batch_bytes};
use super::*;

impl HttpSession {
    /// Takes a whole body in: its events, each into the buffer or refused.
    pub(super) fn take(&mut self, post: &Post, body: &[u8], address: (u32, u16), intake: &mut Intake<'_>) {
        let mut inflated = std::mem::take(&mut intake.web.inflated);
        let result = match post.coding {
            Coding::Identity => Ok(body),
            coding => {
                inflated.clear();
                http1::inflate(coding, body, &mut inflated, self.options.max_body_bytes)
                    .map(|()| &inflated[..])
            }
        };
        match result {
            Ok(body) => self.take_plain(post, body, address, intake),
            Err(fault) => self.refuse_head(Refusal::Http(fault), post.manner),
        }
        intake.web.inflated = inflated;
    }

    pub(super) fn take_plain(
        &mut self,
        post: &Post,
        body: &[u8],
        address: (u32, u16),
        intake: &mut Intake<'_>,
    ) {
        let options = self.options.clone();
        let options = match post.route {
            Route::Events => &options.events,
            Route::PlayerEvents => &options.player_events,
        };
        let items = match events::items(body, post.kind, options.rules.max_items) {
            Ok(items) => items,
            Err(fault) => {
                intake.refuse_event(fault, body, options.topic);
                return self.refuse_head(Refusal::Event(fault), post.manner);
            }
        };
        if items.len() > intake.web.max_records {
            let detail = "more events than the buffer could ever hold: send fewer in a request";
            return self.refuse(Problem::of(413, "too_many_events", detail), post.manner, &[]);
        }
        let (is_batch, waits) = (items.is_batch(), post.ack == Ack::Delivered);
        let reserved = if is_batch { batch_bytes(items.len(), body.len()) } else { ANSWER_BYTES_MAX };
        if is_batch && !self.fits(reserved, intake.web.answers_held) {
            return self.refuse_answer(items.len(), reserved, post.manner, intake);
        }
        let first = self.next;
        let mut taken = Taken {
            route: post.route,
            manner: post.manner,
            is_batch,
            items: Vec::new(),
            open: 0,
            first,
            begun_us: self.since_us,
            accepted_us: intake.now.us,
            deadline_us: intake.now.us + post.timeout_us,
            reserved,
            waits,
            shows_place: post.shows_place,
            serial: None,
            is_echo: false,
        };
        let (ticket, fits) = match self.recall(post, body, &items, &taken, address, intake) {
            Recalled::Answered => return,
            Recalled::NoRoom => (None, false),
            // The door was open when the head came: others may have used the room up since.
            Recalled::New(ticket) => (ticket, items.len() <= intake.room.records && intake.room.is_open()),
        };
        taken.items.reserve_exact(items.len());
        let rules = &options.rules;
        let patience =
            if waits { (post.timeout_us / PATIENCE_US).clamp(1, u64::from(u16::MAX)) as u16 } else { 0 };
        if !fits {
            intake.turn_away(items.len());
        }
        let moment = intake.web.moment(intake.now);
        let idempotency_key = post.idempotency_key.as_deref().and_then(|key| IdempotencyKey::new(key).ok());
        let identity = idempotency_key.map_or_else(String::new, |_| post.client.to_string());
        for (index, span) in items.spans().iter().enumerate() {
            if !fits {
                taken.items.push(Item::new(None, Fate::NoRoom));
                continue;
            }
            let sequence = ((first + index as u64) % Address::SEQUENCE_MODULUS) as u32;
            let token = match ticket {
                Some(ticket) => Token::peer(intake.web.window.address(ticket, index, waits)),
                None if waits => Token::peer(Address { slot: address.0, generation: address.1, sequence }),
                None => Token::nobody(intake.now.us),
            };
            let follows = waits || ticket.is_some();
            let circumstances = Circumstances {
                index: is_batch.then_some(index as u32),
                idempotency_key,
                identity: &identity,
                traceparent: post.traceparent.as_deref(),
                tracestate: post.tracestate.as_deref(),
                content_type: post.content_type.as_deref(),
                attributes: &post.attributes,
                ..Circumstances::new(post.kind, &moment, intake.web.ids.fresh())
            };
            let item = &body[span.clone()];
            let result = intake.take_event(item, token, options.topic, patience, |item, out| {
                events::event(post.route, rules, item, &circumstances, out)
            });
            taken.items.push(match result {
                Ok(event_id) => {
                    taken.open += usize::from(follows);
                    let fate = if follows { Fate::Open } else { Fate::Queued };
                    Item::new(Some(event_id), fate)
                }
                Err(EventRefusal::Fault(fault)) => Item::new(None, Fate::Refused(fault)),
                Err(EventRefusal::LaneFull) => Item::new(None, Fate::NoRoom),
            });
        }
        if let Some(ticket) = ticket {
            return self.follow(ticket, taken, address, intake);
        }
        if waits {
            self.next = first + taken.items.len() as u64;
        }
        self.push_taken(taken);
    }
}
