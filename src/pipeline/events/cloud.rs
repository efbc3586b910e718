//! CloudEvents 1.0 to Kafka records in binary mode: attributes become `ce_*` headers, data the value.
//!
//! The bindings for HTTP and Kafka, the format for JSON, and what they leave to us: every event needs data (a record
//! without a value deletes its key on a compacted topic), `data` that is null is none, an attribute that is null is
//! absent. A structured event's data is its JSON as it stands; where `datacontenttype` is not JSON and the data is a
//! string, its text. The header `content-type` says the data's type.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::ids::EventId;
use super::members::{self, Value};
use super::{Circumstances, EventFault, EventRecord, EventRules, Layout, Marks, media, pass_through, time};
use crate::event::{Field, Rejection, headers};

/// Most attributes of an event.
pub(super) const ATTRIBUTES_MAX: usize = 48;
/// Most characters of an attribute's name; the specification advises 20.
pub(super) const NAME_MAX: usize = 64;

/// One attribute in its canonical string form.
struct Attribute<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    is_text: bool,
}

/// What an event carries.
enum Data<'a> {
    /// As it stands.
    Bytes(&'a [u8]),
    /// A JSON string's text.
    Text(Cow<'a, str>),
    Base64(Cow<'a, str>),
}

/// An event in JSON, alone or from a batch.
pub(super) fn structured(
    rules: &EventRules,
    item: &[u8],
    circumstances: &Circumstances<'_>,
    out: &mut Vec<u8>,
) -> Result<EventRecord, EventFault> {
    let mut attributes = Attributes::default();
    let (mut data, mut base64, mut fault) = (None, None, None);
    members::members(item, |name, value| {
        let result = match &*name {
            "data" => once(&mut data, value, Field::Data),
            "data_base64" => once(&mut base64, value, Field::DataBase64),
            _ => attributes.member(name, value),
        };
        if let Err(found) = result {
            fault.get_or_insert(found);
        }
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    let present = |value: Option<Value<'_>>| value.is_some_and(|value| !value.is_null());
    let content_type = attributes.get("datacontenttype").map(|attribute| &*attribute.value);
    let data = match (data, base64) {
        (data, base64) if present(data) && present(base64) => return Err(Rejection::DataTwice),
        (_, Some(base64)) if !base64.is_null() => {
            Data::Base64(base64.text().ok_or(Rejection::DataBase64Mistyped)?)
        }
        (Some(data), _) if !data.is_null() => match data.text() {
            Some(text) if !media::is_json(content_type.unwrap_or_default()) => Data::Text(text),
            _ => Data::Bytes(data.raw().as_bytes()),
        },
        _ => return attributes.required().and(Err(Rejection::DataMissing)),
    };
    // Data in JSON is JSON where nobody says otherwise (JSON format, section 3.1).
    let assumed = if matches!(data, Data::Base64(_)) { None } else { Some("application/json") };
    let content_type = content_type.or(assumed).map(str::as_bytes);
    write(rules, &attributes, content_type, &data, circumstances, out)
}

/// An event whose data is the body and whose attributes are the request's headers.
pub(super) fn binary(
    rules: &EventRules,
    body: &[u8],
    circumstances: &Circumstances<'_>,
    out: &mut Vec<u8>,
) -> Result<EventRecord, EventFault> {
    let mut attributes = Attributes::default();
    for (name, value) in headers::iter(circumstances.attributes) {
        if let Some((prefix, name)) = name.split_at_checked(3)
            && prefix.eq_ignore_ascii_case("ce-")
        {
            attributes.header(name, value)?;
        }
    }
    if body.is_empty() {
        return attributes.required().and(Err(Rejection::DataMissing));
    }
    let content_type = circumstances.content_type.filter(|content_type| !content_type.is_empty());
    write(rules, &attributes, content_type, &Data::Bytes(body), circumstances, out)
}

fn once<'a>(slot: &mut Option<Value<'a>>, value: Value<'a>, field: Field) -> Result<(), Rejection> {
    match slot.replace(value) {
        Some(_) => Err(Rejection::duplicate(field)),
        None => Ok(()),
    }
}

/// The attributes in the order of the event.
#[derive(Default)]
struct Attributes<'a>(Vec<Attribute<'a>>);

impl<'a> Attributes<'a> {
    /// A member of a structured event.
    fn member(&mut self, name: Cow<'a, str>, value: Value<'a>) -> Result<(), Rejection> {
        let text = value.text();
        let is_text = text.is_some();
        let value = match text {
            Some(text) => text,
            None if value.is_boolean() => Cow::Borrowed(value.raw()),
            None if value.is_integer() && value.raw().parse::<i32>().is_ok() => Cow::Borrowed(value.raw()),
            None if value.is_null() => return Ok(()),
            None => return Err(mistyped(&name)),
        };
        self.add(Attribute { name, value, is_text })
    }

    /// A request's header, its prefix taken off: maybe quoted, then percent-encoded (HTTP binding, section 3.1.3.2).
    fn header(&mut self, name: &'a str, value: &'a [u8]) -> Result<(), Rejection> {
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        if name == "datacontenttype" || name == "data" {
            return Err(Rejection::AttributeName);
        }
        let value = match unquoted(value) {
            None => text(percent_encoding::percent_decode(value).into())?,
            Some(value) => Cow::Owned(text(percent_encoding::percent_decode(&value).into())?.into_owned()),
        };
        self.add(Attribute { name, value, is_text: true })
    }

    fn add(&mut self, attribute: Attribute<'a>) -> Result<(), Rejection> {
        let name = attribute.name.as_bytes();
        if !(1..=NAME_MAX).contains(&name.len())
            || !name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(Rejection::AttributeName);
        }
        if self.get(&attribute.name).is_some() {
            return Err(match &*attribute.name {
                "id" => Rejection::IdDuplicate,
                "type" => Rejection::TypeDuplicate,
                _ => Rejection::AttributeDuplicate,
            });
        }
        if self.0.len() == ATTRIBUTES_MAX {
            return Err(Rejection::TooManyAttributes);
        }
        self.0.push(attribute);
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&Attribute<'a>> {
        self.0.iter().find(|attribute| attribute.name == name)
    }

    /// Holds the attributes against the specification's rules, required ones first; the id.
    fn required(&self) -> Result<EventId, Rejection> {
        match self.get("specversion") {
            None => return Err(Rejection::SpecVersionMissing),
            Some(version) if version.value != "1.0" || !version.is_text => {
                return Err(Rejection::SpecVersionUnknown);
            }
            Some(_) => {}
        }
        let id = self.get("id").ok_or(Rejection::IdMissing)?;
        let source = self.get("source").ok_or(Rejection::SourceMissing)?;
        let kind = self.get("type").ok_or(Rejection::TypeMissing)?;
        for (attribute, empty) in
            [(id, Rejection::IdEmpty), (source, Rejection::SourceEmpty), (kind, Rejection::TypeEmpty)]
        {
            if !attribute.is_text {
                return Err(mistyped(&attribute.name));
            }
            if attribute.value.is_empty() {
                return Err(empty);
            }
        }
        let event_id = EventId::new(&id.value)?;
        for attribute in &self.0 {
            match &*attribute.name {
                "time" if !time::is_rfc3339(&attribute.value) => return Err(Rejection::TimeNotRfc3339),
                "subject" | "dataschema" | "datacontenttype" if !attribute.is_text => {
                    return Err(Rejection::AttributeMistyped);
                }
                "subject" | "dataschema" | "datacontenttype" if attribute.value.is_empty() => {
                    return Err(Rejection::AttributeEmpty);
                }
                _ if attribute.value.chars().any(char::is_control) => {
                    return Err(Rejection::AttributeControl);
                }
                _ => {}
            }
        }
        Ok(event_id)
    }
}

fn mistyped(name: &str) -> Rejection {
    match name {
        "id" => Rejection::IdMistyped,
        "type" => Rejection::TypeMistyped,
        "source" => Rejection::SourceMistyped,
        _ => Rejection::AttributeMistyped,
    }
}

fn text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Rejection> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    }
    .ok_or(Rejection::AttributeNotUtf8)
}

/// What a quoted string (RFC 9110, section 5.6.4) says; nothing if it is none.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut said = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        said.push(*if *byte == b'\\' { bytes.next()? } else { byte });
    }
    Some(said)
}

fn write(
    rules: &EventRules,
    attributes: &Attributes<'_>,
    content_type: Option<&[u8]>,
    data: &Data<'_>,
    circumstances: &Circumstances<'_>,
    out: &mut Vec<u8>,
) -> Result<EventRecord, EventFault> {
    let event_id = attributes.required()?;
    let key_from = out.len();
    let key = match &rules.key_field {
        Some(name) => attributes.get(name).map(|attribute| attribute.value.as_bytes()),
        None if rules.layout == Layout::Ingest => Some(event_id.as_bytes()),
        None => None,
    };
    out.extend_from_slice(key.unwrap_or_default());
    let value_from = out.len();
    match data {
        Data::Bytes(bytes) => out.extend_from_slice(bytes),
        Data::Text(text) => out.extend_from_slice(text.as_bytes()),
        Data::Base64(text) => BASE64.decode_vec(&**text, out).map_err(|_| Rejection::DataBase64Broken)?,
    }
    // No bytes at all would be the record without a value that every event is refused for.
    if out.len() == value_from {
        return Err(Rejection::DataMissing);
    }
    let headers_from = out.len();
    if let Some(content_type) = content_type {
        headers::push(out, "content-type", content_type);
    }
    for attribute in attributes.0.iter().filter(|attribute| attribute.name != "datacontenttype") {
        headers::push(out, &format!("ce_{}", attribute.name), attribute.value.as_bytes());
    }
    if rules.layout == Layout::Ingest {
        headers::push(out, "trace_id", event_id.as_bytes());
    }
    pass_through(circumstances, out);
    Ok(Marks { key_from, value_from, headers_from }.record(out.len(), event_id))
}
