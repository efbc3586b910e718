//! `POST /events` with S3's fields: `id`, `type`, `timestamp`, `payload`, all optional.

use std::borrow::Cow;

use super::compose::{self, Fill};
use super::ids::{self, EventId};
use super::members::{self, Value};
use super::{Circumstances, EventFault, EventRecord, EventRules, Layout, Marks, Route, pass_through, time};
use crate::event::{Field, Rejection, headers};

const FIELDS: [(&str, Field); 4] =
    [("id", Field::Id), ("type", Field::Type), ("timestamp", Field::Timestamp), ("payload", Field::Payload)];

pub(super) fn event(
    rules: &EventRules,
    item: &[u8],
    circumstances: &Circumstances<'_>,
    out: &mut Vec<u8>,
) -> Result<EventRecord, EventFault> {
    let key_field = rules.key_field.as_deref();
    let known = members::known(item, &FIELDS, key_field)?;
    let object = &known.object;
    let [id, kind, timestamp, payload] = known.values;

    let given_id = optional_text(id, Rejection::IdMistyped)?.filter(|id| !id.is_empty());
    let event_id = match &given_id {
        Some(id) => EventId::new(id)?,
        None => ids::our_own(Route::Events, rules, circumstances),
    };
    optional_text(kind, Rejection::TypeMistyped)?;
    let given_time = optional_text(timestamp, Rejection::TimestampMistyped)?;
    if given_time.as_ref().is_some_and(|text| !time::is_rfc3339(text)) {
        return Err(Rejection::TimestampNotRfc3339);
    }
    if payload.is_some_and(|payload| !payload.is_object() && !payload.is_null()) {
        return Err(Rejection::PayloadMistyped);
    }

    let key_from = out.len();
    match key_field {
        Some("id") => out.extend_from_slice(event_id.as_bytes()),
        Some(_) => out.extend_from_slice(key(known.key)?.as_bytes()),
        None if rules.layout == Layout::Ingest => out.extend_from_slice(event_id.as_bytes()),
        None => {}
    }
    let value_from = out.len();
    let our_id = given_id.is_none().then(|| Fill::text("id", event_id.as_bytes(), object, id));
    let moment = circumstances.moment.as_bytes();
    let our_time = given_time.is_none().then(|| Fill::text("timestamp", moment, object, timestamp));
    compose::object(object, &[our_id, our_time], out);
    let headers_from = out.len();
    if rules.layout == Layout::Ingest {
        headers::push(out, "trace_id", event_id.as_bytes());
    }
    pass_through(circumstances, out);
    Ok(Marks { key_from, value_from, headers_from }.record(out.len(), event_id))
}

/// A string; absent and null are alike.
pub(super) fn optional_text<'a>(
    value: Option<Value<'a>>,
    mistyped: Rejection,
) -> Result<Option<Cow<'a, str>>, Rejection> {
    match value.filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => value.text().map(Some).ok_or(mistyped),
    }
}

/// What the key's member says, empty for a null key.
fn key(value: Option<Value<'_>>) -> Result<Cow<'_, str>, Rejection> {
    match value.filter(|value| !value.is_null()) {
        None => Ok(Cow::Borrowed("")),
        Some(value) if value.is_integer() => Ok(Cow::Borrowed(value.raw())),
        Some(value) => value.text().ok_or(Rejection::KeyMemberMistyped),
    }
}
