//! Usage events into `usage_events` (S2-R20, S2-R21): each request once by its id and time.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::batch::Record;
use super::super::json::{members, required, required_text, required_uuid, time};
use super::super::table::{Poison, Row, Rows};

const MEMBERS: [&str; 9] = [
    "request_id",
    "organization_id",
    "api_key_id",
    "endpoint",
    "method",
    "status_code",
    "response_time_ms",
    "timestamp",
    "billable",
];

const INSERT: &str = "
INSERT INTO usage_events (request_id, organization_id, api_key_id, endpoint, method, status_code, response_time_ms,
    timestamp, billable)
SELECT request::uuid, organization::uuid, key::uuid, endpoint, method, status::int, took::bigint, at::timestamptz,
    billable::boolean
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
    AS row(request, organization, key, endpoint, method, status, took, at, billable)
ORDER BY 1, 8
ON CONFLICT (request_id, timestamp) DO NOTHING";

/// See the module's text.
pub struct Usage;

impl Rows for Usage {
    fn statement(&self) -> &'static str {
        INSERT
    }

    fn read<'a>(&self, record: &Record<'a>) -> Result<Row<'a>, Poison> {
        let value = record.value.ok_or_else(|| Poison::new("empty", "the record has no value"))?;
        let [request, organization, key, endpoint, method, status, took, at, billable] =
            members(value, &MEMBERS)?;
        Ok([
            Some(required_uuid(request, "request_id")?),
            Some(required_uuid(organization, "organization_id")?),
            Some(required_uuid(key, "api_key_id")?),
            Some(required_text(endpoint, "endpoint")?),
            Some(required_text(method, "method")?),
            Some(integer(status, "status_code")?),
            Some(integer(took, "response_time_ms")?),
            Some(time(required_text(at, "timestamp")?, "timestamp")?),
            Some(boolean(billable, "billable")?),
            None,
        ])
    }
}

/// An integer without fraction or exponent; its range is the column's.
fn integer<'a>(value: Option<&'a RawValue>, name: &str) -> Result<Cow<'a, str>, Poison> {
    let raw = required(value, name)?.get();
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(Cow::Borrowed(raw)),
        false => Err(Poison::new("mistyped", format!("{name} must be an integer"))),
    }
}

fn boolean<'a>(value: Option<&'a RawValue>, name: &str) -> Result<Cow<'a, str>, Poison> {
    match required(value, name)?.get() {
        raw @ ("true" | "false") => Ok(Cow::Borrowed(raw)),
        _ => Err(Poison::new("mistyped", format!("{name} must be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"request_id":"550e8400-e29b-41d4-a716-446655440000",
        "organization_id":"550e8400-e29b-41d4-a716-446655440001","api_key_id":"550e8400-e29b-41d4-a716-446655440002",
        "endpoint":"/v1/x","method":"GET","status_code":200,"response_time_ms":45,
        "timestamp":"2026-01-26T12:00:00.5Z","billable":true}"#;

    fn read(value: &str) -> Result<Vec<Option<String>>, String> {
        let value = Some(value.as_bytes());
        let record = Record { partition: 0, offset: 0, timestamp_ms: None, key: None, value, headers: b"" };
        let row = Usage.read(&record).map_err(|poison| poison.code)?;
        Ok(row.into_iter().map(|column| column.map(Cow::into_owned)).collect())
    }

    #[test]
    fn the_nine_fields_are_a_row() {
        let row = read(WHOLE).unwrap();
        assert_eq!(
            (row[5].as_deref(), row[6].as_deref(), row[8].as_deref()),
            (Some("200"), Some("45"), Some("true"))
        );
        assert_eq!(row[9], None);
    }

    #[test]
    fn each_fault_has_its_code() {
        for member in MEMBERS {
            assert_eq!(
                read(&WHOLE.replace(&format!("\"{member}\""), "\"other\"")),
                Err("missing".into()),
                "{member}"
            );
        }
        for (from, to, code) in [
            ("200", "200.5", "mistyped"),
            ("45", "\"45\"", "mistyped"),
            ("true", "1", "mistyped"),
            ("550e8400-e29b-41d4-a716-446655440002", "x", "not_a_uuid"),
            ("2026-01-26T12:00:00.5Z", "now", "invalid_time"),
        ] {
            assert_eq!(read(&WHOLE.replace(from, to)), Err(code.into()), "{to}");
        }
    }
}
