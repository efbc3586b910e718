//! Player events into `events` (S4-R9): each event once by its id, as it came.

use std::borrow::Cow;

use super::super::batch::Record;
use super::super::json::{members, required_text, required_uuid, text, time};
use super::super::table::{Poison, Row, Rows};
use super::rfc3339;

const MEMBERS: [&str; 7] =
    ["event_id", "event_type", "player_id", "game_id", "timestamp", "ingested_at", "data"];

const INSERT: &str = "
INSERT INTO events (event_id, event_type, player_id, game_id, event_timestamp, ingested_at, data, created_at)
SELECT id::uuid, type, player, game, at::timestamptz, arrived::timestamptz, data::jsonb, now()
FROM unnest($1, $2, $3, $4, $5, $6, $7) AS row(id, type, player, game, at, arrived, data)
ORDER BY 1
ON CONFLICT (event_id) DO NOTHING";

/// See the module's text.
pub struct EventLog;

impl Rows for EventLog {
    fn statement(&self) -> &'static str {
        INSERT
    }

    fn read<'a>(&self, record: &Record<'a>) -> Result<Row<'a>, Poison> {
        let value = record.value.ok_or_else(|| Poison::new("empty", "the record has no value"))?;
        let [id, kind, player, game, at, arrived, data] = members(value, &MEMBERS)?;
        // Producers other than the gateway may leave the time of arrival to Kafka.
        let arrived = match (arrived, record.timestamp_ms) {
            (Some(arrived), _) => time(text(arrived, "ingested_at")?, "ingested_at")?,
            (None, Some(ms)) => rfc3339(ms),
            (None, None) => return Err(Poison::new("missing", "ingested_at is missing")),
        };
        Ok([
            Some(required_uuid(id, "event_id")?),
            Some(required_text(kind, "event_type")?),
            Some(required_text(player, "player_id")?),
            Some(required_text(game, "game_id")?),
            Some(time(required_text(at, "timestamp")?, "timestamp")?),
            Some(arrived),
            Some(Cow::Borrowed(data.map_or("{}", |data| data.get()))),
            None,
            None,
            None,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: Option<&[u8]>) -> Record<'_> {
        Record { partition: 0, offset: 0, timestamp_ms: Some(0), key: None, value, headers: b"" }
    }

    const WHOLE: &str = r#"{"event_id":"550e8400-e29b-41d4-a716-446655440000","event_type":"player_level_up",
        "player_id":"player-123","game_id":"game-456","timestamp":"2024-01-01T12:00:00Z",
        "ingested_at":"2024-01-01T12:00:01Z","data":{"level":5}}"#;

    #[test]
    fn the_documents_event_is_a_row() {
        let row = EventLog.read(&record(Some(WHOLE.as_bytes()))).unwrap();
        let row: Vec<&str> = row.iter().flatten().map(AsRef::as_ref).collect();
        let expected = [
            "550e8400-e29b-41d4-a716-446655440000",
            "player_level_up",
            "player-123",
            "game-456",
            "2024-01-01T12:00:00Z",
            "2024-01-01T12:00:01Z",
            r#"{"level":5}"#,
        ];
        assert_eq!(row, expected);
    }

    #[test]
    fn what_may_be_absent_has_a_value_all_the_same() {
        let value = WHOLE.replace(r#""ingested_at":"2024-01-01T12:00:01Z","data":{"level":5}"#, r#""x":1"#);
        let row = EventLog.read(&record(Some(value.as_bytes()))).unwrap();
        assert_eq!((row[5].as_deref(), row[6].as_deref()), (Some("1970-01-01T00:00:00.000Z"), Some("{}")));
        let value = WHOLE.replace(r#"{"level":5}"#, "null");
        let row = EventLog.read(&record(Some(value.as_bytes()))).unwrap();
        assert_eq!(row[6].as_deref(), Some("null"));
    }

    #[test]
    fn each_fault_has_its_code() {
        let code = |value: &str| EventLog.read(&record(Some(value.as_bytes()))).unwrap_err().code;
        assert_eq!(EventLog.read(&record(None)).unwrap_err().code, "empty");
        assert_eq!(code("{"), "not_json");
        for member in ["event_id", "event_type", "player_id", "game_id", "timestamp"] {
            assert_eq!(code(&WHOLE.replace(&format!("\"{member}\""), "\"other\"")), "missing", "{member}");
        }
        assert_eq!(code(&WHOLE.replace("\"game-456\"", "7")), "mistyped");
        assert_eq!(code(&WHOLE.replace("550e8400-", "x")), "not_a_uuid");
        assert_eq!(code(&WHOLE.replace("2024-01-01T12:00:00Z", "yesterday")), "invalid_time");
        assert_eq!(code(&WHOLE.replace("2024-01-01T12:00:01Z", "yesterday")), "invalid_time");
    }
}
