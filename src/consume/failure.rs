//! Every SQLSTATE, classified once: is the row to blame, or the moment?
//!
//! The rule behind the table: only what is known to be the row's own fault is the row's fault. All else is waited out,
//! because a dead letter that a retry would have saved is a loss, and a wait that lasts is seen in the lag.

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// This row as it is will never be taken.
    Permanent,
    /// The same row may be taken later.
    Transient,
}

/// SQLSTATEs, or the two characters of their class, that are the row's fault, and the name that a dead letter gives
/// them. The first that fits counts.
pub const PERMANENT: &[(&str, &str)] = &[
    ("22P05", "untranslatable_character"),
    ("22P02", "invalid_text"),
    ("22001", "too_long"),
    ("22003", "out_of_range"),
    ("22007", "invalid_time"),
    ("22008", "time_out_of_range"),
    ("22009", "invalid_time_zone"),
    ("22", "data_exception"),
    ("23502", "not_null"),
    ("23503", "foreign_key"),
    ("23505", "unique"),
    ("23514", "check"),
    ("23", "constraint"),
    ("54", "limit_exceeded"),
];

/// Codes within those classes that are the moment's fault all the same. (22P04 and its like concern COPY, 54023 too
/// many arguments of ours.)
const NOT_PERMANENT: &[&str] = &["22P04", "54023"];

/// Class and name of a SQLSTATE; what is not in the table is transient, under its own code.
pub fn classify(code: &str) -> (Class, &str) {
    let known = PERMANENT.iter().find(|(start, _)| code.starts_with(start));
    match known.filter(|_| !NOT_PERMANENT.contains(&code)) {
        Some((_, name)) => (Class::Permanent, name),
        None => (Class::Transient, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_reached() {
        for (index, (start, name)) in PERMANENT.iter().enumerate() {
            assert!(PERMANENT[..index].iter().all(|(before, _)| !start.starts_with(before)), "{start}");
            let code = format!("{start:0<5}");
            assert_eq!(classify(&code), (Class::Permanent, *name), "{code}");
        }
    }

    /// Connection, resources, locks, an operator's shutdown, a standby, a lost grant, a missing table: all are waited
    /// out.
    #[test]
    fn what_is_not_the_row_is_waited_out() {
        for code in [
            "08006", "25006", "40001", "40P01", "42P01", "42501", "53100", "53200", "53300", "55P03",
            "57014", "57P01", "57P02", "57P03", "58030", "XX000", "22P04", "00000", "",
        ] {
            assert_eq!(classify(code), (Class::Transient, code));
        }
    }
}
