//! The schema as migrations in the binary, and whether a database has exactly those.
//!
//! Versions are applied in order, all in one transaction under an advisory lock, so two that run at once do it once
//! and one that is cut short does nothing. What was applied is written down by number and name; a number or a name that
//! this program does not know is refused by name, because a newer program may have changed what our statements mean.

use std::fmt;

use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::result::Error;
use diesel::sql_types::{Integer, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, sql_query};

use super::database::{connect, one_line, passing};
use super::options::DatabaseOptions;
use super::sink::Trouble;

/// (version, name, statements). Only ever appended to.
const MIGRATIONS: &[(i32, &str, &str)] =
    &[(1, "tables", include_str!("schema/0001_tables.sql")), (2, "try", include_str!("schema/0002_try.sql"))];

/// The version that this program knows and writes to.
pub const VERSION: usize = MIGRATIONS.len();

/// Nobody else's number: the bytes of "sluice\0m".
const LOCK: i64 = 0x736c_7569_6365_006d;

const JOURNAL: &str = "CREATE TABLE IF NOT EXISTS sluice_schema (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP)";

/// How a database's schema compares with what this program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaState {
    Current,
    /// These are still to be applied, as `1 tables`.
    Behind(Vec<String>),
    /// These were applied by a program that knows more, or something else.
    Unknown(Vec<String>),
}

impl fmt::Display for SchemaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => write!(f, "the schema is current, version {}", MIGRATIONS.len()),
            Self::Behind(names) => {
                write!(f, "the schema lacks {}: run `sluice migrate`", names.join(", "))
            }
            Self::Unknown(names) => {
                write!(f, "the schema has {}, which this version does not know", names.join(", "))
            }
        }
    }
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Text)]
    name: String,
}

fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, Error> {
    #[derive(QueryableByName)]
    struct Journal {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        is_there: bool,
    }
    let journal: Journal =
        sql_query("SELECT to_regclass('sluice_schema') IS NOT NULL AS is_there").get_result(connection)?;
    if !journal.is_there {
        return Ok(Vec::new());
    }
    sql_query("SELECT version, name FROM sluice_schema ORDER BY version").load(connection)
}

fn compare(applied: &[Applied]) -> SchemaState {
    let knows = |one: &Applied| MIGRATIONS.iter().any(|(v, n, _)| *v == one.version && *n == one.name);
    let unknown: Vec<String> =
        applied.iter().filter(|one| !knows(one)).map(|one| format!("{} {}", one.version, one.name)).collect();
    if !unknown.is_empty() {
        return SchemaState::Unknown(unknown);
    }
    let missing = MIGRATIONS.iter().filter(|(version, ..)| applied.iter().all(|one| one.version != *version));
    let missing: Vec<String> = missing.map(|(version, name, _)| format!("{version} {name}")).collect();
    if missing.is_empty() { SchemaState::Current } else { SchemaState::Behind(missing) }
}

/// What `sluice migrate --check` asks.
///
/// # Errors
/// The database does not answer.
pub fn schema_state(connection: &mut PgConnection) -> Result<SchemaState, Error> {
    Ok(compare(&applied(connection)?))
}

/// Brings the schema up to date; what was applied, or why nothing was.
///
/// # Errors
/// The database refuses a statement; nothing is changed then.
pub fn migrate(connection: &mut PgConnection) -> Result<Result<Vec<String>, SchemaState>, Error> {
    connection.transaction(|connection| {
        connection.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK}); {JOURNAL}"))?;
        let missing = match schema_state(connection)? {
            SchemaState::Current => Vec::new(),
            SchemaState::Behind(missing) => missing,
            unknown @ SchemaState::Unknown(_) => return Ok(Err(unknown)),
        };
        for (version, name, statements) in MIGRATIONS {
            if missing.contains(&format!("{version} {name}")) {
                connection.batch_execute(statements)?;
                sql_query("INSERT INTO sluice_schema (version, name) VALUES ($1, $2)")
                    .bind::<Integer, _>(version)
                    .bind::<Text, _>(name)
                    .execute(connection)?;
            }
        }
        Ok(Ok(missing))
    })
}

/// `sluice migrate --check` as a whole: what to print.
///
/// # Errors
/// The schema is not current, or the database does not answer.
pub fn check_schema(options: &DatabaseOptions) -> Result<String, String> {
    let state = schema_state(&mut open(options)?).map_err(|error| one_line(&error.to_string()))?;
    if state == SchemaState::Current { Ok(state.to_string()) } else { Err(state.to_string()) }
}

/// `sluice migrate` as a whole: what to print.
///
/// # Errors
/// The schema is unknown, or the database does not answer, or refuses.
pub fn migrate_schema(options: &DatabaseOptions) -> Result<String, String> {
    match migrate(&mut open(options)?).map_err(|error| one_line(&error.to_string()))? {
        Ok(applied) if applied.is_empty() => Ok(SchemaState::Current.to_string()),
        Ok(applied) => Ok(format!("applied {}; {}", applied.join(", "), SchemaState::Current)),
        Err(unknown) => Err(unknown.to_string()),
    }
}

fn open(options: &DatabaseOptions) -> Result<PgConnection, String> {
    let mut connection = connect(&options.url()).map_err(|trouble| match trouble {
        Trouble::Passing(why) | Trouble::Final(why) => why,
    })?;
    // `IF NOT EXISTS` says each time that something is there.
    let quiet = connection.batch_execute("SET client_min_messages = warning");
    quiet.map_err(|error| one_line(&error.to_string()))?;
    Ok(connection)
}

/// # Errors
/// `Final` if the schema is not the one that this program knows.
pub fn require(connection: &mut PgConnection) -> Result<(), Trouble> {
    match schema_state(connection).map_err(|error| passing(&error))? {
        SchemaState::Current => Ok(()),
        other => Err(Trouble::Final(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(versions: &[(i32, &str)]) -> Vec<Applied> {
        versions.iter().map(|(version, name)| Applied { version: *version, name: (*name).into() }).collect()
    }

    #[test]
    fn versions_are_numbered_from_one() {
        assert!(MIGRATIONS.iter().enumerate().all(|(index, (version, ..))| *version as usize == index + 1));
    }

    #[test]
    fn what_is_unknown_is_named_before_what_is_missing() {
        assert_eq!(compare(&applied(&[])), SchemaState::Behind(vec!["1 tables".into(), "2 try".into()]));
        assert_eq!(compare(&applied(&[(1, "tables"), (2, "try")])), SchemaState::Current);
        let other = compare(&applied(&[(1, "tables"), (3, "later")]));
        assert_eq!(other.to_string(), "the schema has 3 later, which this version does not know");
        assert_eq!(compare(&applied(&[(1, "mine")])), SchemaState::Unknown(vec!["1 mine".into()]));
    }
}
