//! The one connection to PostgreSQL: made when it is needed, given up at the first sign that it is not whole.
//!
//! Owns how a session is set up: bounds for every wait, so that a server that is stuck, a table that is locked and a
//! process that is stopped in the middle of a transaction all end by themselves. Never tries again by itself: that is
//! the loop's, which keeps the group informed meanwhile.

use std::fmt::Write as _;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::result::{ConnectionError, Error};
use diesel::sql_types::{Array, Nullable, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, sql_query};

use super::options::DatabaseOptions;
use super::schema;
use super::sink::Trouble;

/// Columns that one statement takes at most.
pub const COLUMNS_MAX: usize = 10;

/// Waiting for a lock ends after so long, and is tried again by the loop.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Any one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// What a statement did, or why not.
#[derive(Debug, QueryableByName)]
pub struct Tried {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub stored: i64,
    /// SQLSTATE; `00000` if all went well, and else nothing was done.
    #[diesel(sql_type = Text)]
    pub code: String,
    #[diesel(sql_type = Text)]
    pub message: String,
}

/// See the module's text.
pub struct Database {
    url: String,
    /// PostgreSQL ends a transaction that nobody goes on with after so long: below the time in which the group gives
    /// our partitions away.
    idle_timeout: Duration,
    connection: Option<PgConnection>,
}

impl Database {
    /// Connects to nothing yet.
    pub fn new(options: &DatabaseOptions, session_timeout: Duration) -> Self {
        Self { url: options.url(), idle_timeout: session_timeout / 2, connection: None }
    }

    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The connection; made and set up if there is none.
    ///
    /// # Errors
    /// `Passing` if the server is not there or takes nobody; `Final` if its schema is not the one that we know.
    pub fn connection(&mut self) -> Result<&mut PgConnection, Trouble> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = connect(&self.url)?;
                connection.batch_execute(&self.session()).map_err(|error| passing(&error))?;
                schema::require(&mut connection)?;
                log::info!(target: "consume", "database.connected schema={}", schema::VERSION);
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Lets go of the connection; what was not committed is not there.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    fn session(&self) -> String {
        let mut text =
            String::from("SET client_min_messages = warning; SET standard_conforming_strings = on;");
        for (name, timeout) in [
            ("lock_timeout", LOCK_TIMEOUT),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", self.idle_timeout),
        ] {
            // Writing into a String cannot fail.
            let _ = write!(text, "SET {name} = {};", timeout.as_millis().max(1));
        }
        text
    }
}

/// Connects without setting anything up.
///
/// # Errors
/// `Passing`, in libpq's words, which do not hold the password; `Final` for an address that libpq cannot read.
pub fn connect(url: &str) -> Result<PgConnection, Trouble> {
    PgConnection::establish(url).map_err(|error| match error {
        ConnectionError::BadConnection(words) => Trouble::Passing(one_line(&words)),
        other => Trouble::Final(one_line(&other.to_string())),
    })
}

/// An error outside of [`attempt`]: which one it is diesel does not tell, and none of them is a row's fault.
pub fn passing(error: &Error) -> Trouble {
    Trouble::Passing(one_line(&error.to_string()))
}

/// Runs `statement`, whose `$1` to `$10` are the columns as `text[]`, so that its failure leaves the transaction
/// usable and has a SQLSTATE.
///
/// # Errors
/// What ends the transaction: the connection is gone, or a timeout.
pub fn attempt(
    connection: &mut PgConnection,
    statement: &str,
    columns: &[Vec<Option<&str>>; COLUMNS_MAX],
) -> Result<Tried, Error> {
    type Column = Array<Nullable<Text>>;
    let [a, b, c, d, e, f, g, h, i, j] = columns;
    sql_query("SELECT stored, code, message FROM sluice_try($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
        .bind::<Text, _>(statement)
        .bind::<Column, _>(a)
        .bind::<Column, _>(b)
        .bind::<Column, _>(c)
        .bind::<Column, _>(d)
        .bind::<Column, _>(e)
        .bind::<Column, _>(f)
        .bind::<Column, _>(g)
        .bind::<Column, _>(h)
        .bind::<Column, _>(i)
        .bind::<Column, _>(j)
        .get_result(connection)
}

/// Server messages have line ends; log lines do not.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
