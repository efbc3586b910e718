//! Which events a body says it holds, by ids of its client's own: what makes a retry the same request without an
//! `Idempotency-Key` (S4-R2).
//!
//! Only on S4's route, whose ids are UUIDs that stand for one event each; an `id` of S3's route was never unique there.
//! The body counts as a whole: a batch is the same batch if it has the same ids in the same order.

use uuid::Uuid;

use super::items::Items;
use super::{Route, ids, members};

/// The ids of all events of a body, 16 bytes each; `None` unless every event has one.
pub fn client_ids(route: Route, items: &Items, body: &[u8]) -> Option<Vec<u8>> {
    // Most bodies do not even hold the word; one that writes it with escapes is taken for one of them.
    if route != Route::PlayerEvents
        || items.is_empty()
        || memchr::memmem::find(body, b"\"event_id\"").is_none()
    {
        return None;
    }
    let mut all = Vec::with_capacity(16 * items.len());
    for span in items.spans() {
        all.extend_from_slice(client_id(&body[span.clone()])?.as_bytes());
    }
    Some(all)
}

fn client_id(item: &[u8]) -> Option<Uuid> {
    let mut id = None;
    members::members(item, |name, value| {
        if name == "event_id" {
            id = Some(value);
        }
    })
    .ok()?;
    let text = id?.text()?;
    if ids::is_uuid(&text) { Uuid::try_parse(&text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::{BodyKind, items};
    use super::*;

    const ONE: &str = "0b6f6a52-2a39-4b7c-9a5b-0d5f3c1e8a11";
    const TWO: &str = "1b6f6a52-2a39-4b7c-9a5b-0d5f3c1e8a12";

    fn of(route: Route, body: &str) -> Option<Vec<u8>> {
        client_ids(route, &items(body.as_bytes(), BodyKind::Json, 10).unwrap(), body.as_bytes())
    }

    #[test]
    fn a_body_is_named_by_its_events_ids() {
        let route = Route::PlayerEvents;
        let one = of(route, &format!(r#"{{"event_id":"{ONE}","x":1}}"#)).expect("an id");
        assert_eq!(one, Uuid::try_parse(ONE).unwrap().as_bytes());
        assert_eq!(of(route, &format!(r#"{{"event_id":"{}"}}"#, ONE.to_uppercase())), Some(one.clone()));
        let both =
            of(route, &format!(r#"[{{"event_id":"{ONE}"}},{{"event_id":"{TWO}"}}]"#)).expect("two ids");
        assert_eq!((both.len(), &both[..16]), (32, &one[..]));
        for body in [
            "{}".to_owned(),
            format!(r#"{{"id":"{ONE}"}}"#),
            r#"{"event_id":"no uuid"}"#.to_owned(),
            r#"{"event_id":null}"#.to_owned(),
            format!(r#"[{{"event_id":"{ONE}"}},{{"a":1}}]"#),
            format!(r#"[{{"event_id":"{ONE}"}},7]"#),
        ] {
            assert_eq!(of(route, &body), None, "{body}");
        }
        assert_eq!(of(Route::Events, &format!(r#"{{"event_id":"{ONE}"}}"#)), None);
    }
}
