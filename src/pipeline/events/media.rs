//! What a request's Content-Type says about its body.

use super::{BodyKind, EventFault, Route};
use crate::event::Rejection;

/// Longest media type that is looked at, parameters apart; RFC 6838 allows 127 on either side of the slash.
const ESSENCE_MAX: usize = 255;

/// What the body is, from `Content-Type` and from whether the request has a header `ce-specversion`.
///
/// The originals never look at the type, so whatever might be JSON is taken as JSON: nothing at all, `text/plain`,
/// `application/x-www-form-urlencoded`, which `curl -d` says, and `text/html`, which hey says. What cannot be is refused at once. A CloudEvent in binary
/// form may have any type, since its body is not read. S4's route takes no CloudEvents.
///
/// # Errors
/// [`Rejection::UnsupportedMediaType`], which is answered 415.
pub fn body_kind(
    route: Route,
    content_type: Option<&[u8]>,
    has_specversion: bool,
) -> Result<BodyKind, EventFault> {
    // What nearly every request says, or nothing: no need to look further.
    if !has_specversion && content_type.is_none_or(|given| given == b"application/json") {
        return Ok(BodyKind::Json);
    }
    let mut lower = [0; ESSENCE_MAX];
    let essence =
        essence(content_type.unwrap_or_default(), &mut lower).ok_or(Rejection::UnsupportedMediaType)?;
    let kind = match essence {
        "application/cloudevents+json" => BodyKind::CloudStructured,
        "application/cloudevents-batch+json" => BodyKind::CloudBatch,
        _ if essence.starts_with("application/cloudevents") => return Err(Rejection::UnsupportedMediaType),
        _ if has_specversion => BodyKind::CloudBinary,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            BodyKind::Ndjson
        }
        _ if cannot_be_json(essence) => return Err(Rejection::UnsupportedMediaType),
        _ => BodyKind::Json,
    };
    match (route, kind) {
        (Route::PlayerEvents, BodyKind::CloudStructured | BodyKind::CloudBatch | BodyKind::CloudBinary) => {
            Err(Rejection::UnsupportedMediaType)
        }
        _ => Ok(kind),
    }
}

/// Whether data of this type is JSON; CloudEvents without a type are.
pub(super) fn is_json(content_type: &str) -> bool {
    let mut lower = [0; ESSENCE_MAX];
    essence(content_type.as_bytes(), &mut lower).is_some_and(|essence| {
        matches!(essence, "" | "application/json" | "text/json") || essence.ends_with("+json")
    })
}

/// Type and subtype in lower case, without parameters.
fn essence<'b>(content_type: &[u8], lower: &'b mut [u8; ESSENCE_MAX]) -> Option<&'b str> {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let essence = content_type[..end].trim_ascii();
    let lower = lower.get_mut(..essence.len())?;
    lower.copy_from_slice(essence);
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

fn cannot_be_json(essence: &str) -> bool {
    let (top, sub) = essence.split_once('/').unwrap_or((essence, ""));
    match top {
        "multipart" | "image" | "audio" | "video" | "font" | "model" | "message" => true,
        "text" => matches!(sub, "xml" | "css" | "csv") || sub.ends_with("+xml"),
        "application" => {
            ["+xml", "+cbor", "+zip", "+protobuf", "+avro"].iter().any(|suffix| sub.ends_with(suffix))
                || ["grpc", "vnd.openxmlformats"].iter().any(|prefix| sub.starts_with(prefix))
                || matches!(
                    sub,
                    "xml"
                        | "cbor"
                        | "msgpack"
                        | "x-msgpack"
                        | "protobuf"
                        | "x-protobuf"
                        | "avro"
                        | "pdf"
                        | "zip"
                        | "gzip"
                        | "x-tar"
                        | "yaml"
                        | "x-yaml"
                        | "bson"
                )
        }
        _ => false,
    }
}
