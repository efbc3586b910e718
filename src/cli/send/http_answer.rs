//! What an answer says of each line of its request. Pure: a status and a body in, verdicts out.

use serde_json::Value;

use super::outcome::Fate;

/// What becomes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stored,
    /// Certainly not stored, and worth another try.
    Again,
    Failed {
        fate: Fate,
        code: String,
        detail: String,
    },
}

/// One verdict for each of `lines` lines, in their order.
///
/// Errors: a batch's answer does not say what became of each.
pub(super) fn verdicts(status: u16, body: &[u8], lines: usize) -> Result<Vec<Verdict>, String> {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(items) = said["items"].as_array() else {
        return match status {
            207 => Err("a 207 without items".into()),
            _ => Ok(vec![verdict(status, &said); lines]),
        };
    };
    let mut verdicts = vec![None; lines];
    for item in items {
        let place = item["index"].as_u64().and_then(|index| verdicts.get_mut(usize::try_from(index).ok()?));
        let status = item["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let (Some(place @ None), Some(status)) = (place, status) else {
            return Err("an item that was not sent, or is named twice".into());
        };
        *place = Some(verdict(status, item));
    }
    verdicts.into_iter().collect::<Option<_>>().ok_or_else(|| "not every item has its answer".into())
}

fn verdict(status: u16, said: &Value) -> Verdict {
    let word = |name: &str| said[name].as_str().unwrap_or_default();
    let fate = match (status, word("outcome")) {
        (200, _) => return Verdict::Stored,
        // Only what says so is certain; an intermediary's 503 is not.
        (503, "not_stored") | (429, _) => return Verdict::Again,
        (500.., "not_stored") => Fate::NotStored,
        (400..=499, _) => Fate::Rejected,
        _ => Fate::Unknown,
    };
    let code = if word("code").is_empty() { format!("status_{status}") } else { word("code").to_owned() };
    Verdict::Failed { fate, code, detail: word("detail").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(fate: Fate, code: &str, detail: &str) -> Verdict {
        Verdict::Failed { fate, code: code.into(), detail: detail.into() }
    }

    #[test]
    fn one_answer_speaks_for_all_lines_unless_it_has_items() {
        for (status, body, expected) in [
            (200, "{}", Verdict::Stored),
            (503, r#"{"outcome":"not_stored","code":"overloaded"}"#, Verdict::Again),
            (429, "", Verdict::Again),
            (503, "<html>", failed(Fate::Unknown, "status_503", "")),
            (202, "{}", failed(Fate::Unknown, "status_202", "")),
            (400, r#"{"code":"body_not_json","detail":"d"}"#, failed(Fate::Rejected, "body_not_json", "d")),
            (504, r#"{"code":"TIMEOUT","outcome":"unknown"}"#, failed(Fate::Unknown, "TIMEOUT", "")),
        ] {
            assert_eq!(verdicts(status, body.as_bytes(), 2), Ok(vec![expected; 2]), "{status} {body}");
        }
    }

    #[test]
    fn items_are_matched_by_their_index_and_all_must_be_there() {
        let item = |index: u64, status: u16| {
            format!(r#"{{"index":{index},"status":{status},"outcome":"not_stored"}}"#)
        };
        let answer = |items: &[String]| format!(r#"{{"items":[{}]}}"#, items.join(","));
        let whole = answer(&[item(1, 503), item(0, 200), item(2, 400)]);
        let expected = [Verdict::Stored, Verdict::Again, failed(Fate::Rejected, "status_400", "")];
        assert_eq!(verdicts(207, whole.as_bytes(), 3).unwrap(), expected);
        for wrong in [
            answer(&[item(0, 200)]),
            answer(&[item(0, 200), item(0, 200)]),
            answer(&[item(0, 200), item(2, 200)]),
            "{}".into(),
        ] {
            assert!(verdicts(207, wrong.as_bytes(), 2).is_err(), "{wrong}");
        }
    }
}
