//! `POST /api/v1/events` with S4's fields, as its consumers and its tables read them (S4-R1, S4-R2, S4-R4).

use std::borrow::Cow;

use super::compose::{self, Fill};
use super::ids::{self, EventId};
use super::members::{self, Value};
use super::plain::optional_text;
use super::{Circumstances, EventFault, EventRecord, EventRules, Marks, Route, pass_through, time};
use crate::event::{Field, Rejection, headers};

/// Most characters (Unicode scalar values) of `event_type`, `player_id` and `game_id`: the table's columns.
pub(super) const TEXT_MAX_CHARS: usize = 100;

const FIELDS: [(&str, Field); 7] = [
    ("event_type", Field::EventType),
    ("player_id", Field::PlayerId),
    ("game_id", Field::GameId),
    ("timestamp", Field::Timestamp),
    ("data", Field::Data),
    ("event_id", Field::EventId),
    ("ingested_at", Field::IngestedAt),
];

/// What to say about a required string.
struct Text {
    missing: Rejection,
    mistyped: Rejection,
    empty: Rejection,
    too_long: Rejection,
}

const EVENT_TYPE: Text = Text {
    missing: Rejection::EventTypeMissing,
    mistyped: Rejection::EventTypeMistyped,
    empty: Rejection::EventTypeEmpty,
    too_long: Rejection::EventTypeTooLong,
};

const PLAYER_ID: Text = Text {
    missing: Rejection::PlayerIdMissing,
    mistyped: Rejection::PlayerIdMistyped,
    empty: Rejection::PlayerIdEmpty,
    too_long: Rejection::PlayerIdTooLong,
};

const GAME_ID: Text = Text {
    missing: Rejection::GameIdMissing,
    mistyped: Rejection::GameIdMistyped,
    empty: Rejection::GameIdEmpty,
    too_long: Rejection::GameIdTooLong,
};

pub(super) fn event(
    rules: &EventRules,
    item: &[u8],
    circumstances: &Circumstances<'_>,
    out: &mut Vec<u8>,
) -> Result<EventRecord, EventFault> {
    let known = members::known(item, &FIELDS, None)?;
    let object = &known.object;
    let [event_type, player_id, game_id, timestamp, data, event_id, ingested_at] = known.values;

    let event_type = required_text(event_type, &EVENT_TYPE)?;
    let player_id = required_text(player_id, &PLAYER_ID)?;
    required_text(game_id, &GAME_ID)?;
    let time = timestamp.ok_or(Rejection::TimestampMissing)?.text().ok_or(Rejection::TimestampMistyped)?;
    if !time::is_rfc3339(&time) {
        return Err(Rejection::TimestampNotRfc3339);
    }
    if data.is_some_and(|data| !data.is_object() && !data.is_null()) {
        return Err(Rejection::DataMistyped);
    }
    let given_id = optional_text(event_id, Rejection::EventIdMistyped)?.filter(|id| !id.is_empty());
    let id = match &given_id {
        Some(id) if ids::is_uuid(id) => EventId::new(id)?,
        Some(_) => return Err(Rejection::EventIdNotUuid),
        None => ids::our_own(Route::PlayerEvents, rules, circumstances),
    };
    if object.has_nul {
        return Err(Rejection::Nul);
    }

    let key_from = out.len();
    out.extend_from_slice(player_id.as_bytes());
    let value_from = out.len();
    let our_id = given_id.is_none().then(|| Fill::text("event_id", id.as_bytes(), object, event_id));
    let arrival = Fill::text("ingested_at", circumstances.moment.as_bytes(), object, ingested_at);
    let no_data = data.is_none().then(|| Fill::null("data"));
    compose::object(object, &[our_id, Some(arrival), no_data], out);
    let headers_from = out.len();
    headers::push(out, "event_type", event_type.as_bytes());
    headers::push(out, "event_id", id.as_bytes());
    pass_through(circumstances, out);
    Ok(Marks { key_from, value_from, headers_from }.record(out.len(), id))
}

fn required_text<'a>(value: Option<Value<'a>>, rule: &Text) -> Result<Cow<'a, str>, Rejection> {
    let text = value.ok_or(rule.missing)?.text().ok_or(rule.mistyped)?;
    match text.len() {
        0 => Err(rule.empty),
        // No character is shorter than a byte, so there is nothing to count.
        bytes if bytes <= TEXT_MAX_CHARS => Ok(text),
        bytes if bytes <= 4 * TEXT_MAX_CHARS && text.chars().count() <= TEXT_MAX_CHARS => Ok(text),
        _ => Err(rule.too_long),
    }
}
