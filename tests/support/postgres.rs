//! Real PostgreSQL for a test, through `scripts/postgres.sh`: started on a free port in a scratch folder, stopped with
//! the test. If the test process is killed, the script's watchdog ends the server and removes the folder.

use std::process::Command;

use diesel::deserialize::QueryableByName;
use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, RunQueryDsl as _, sql_query};

use super::{PATIENCE, eventually_some};

pub struct RealPostgres {
    dir: String,
    url: String,
}

impl RealPostgres {
    /// A server that nobody else uses, whatever the environment says: for tests that stop it.
    pub fn own() -> RealPostgres {
        RealPostgres::with(&["--own"])
    }

    /// The one that the environment names, or one of our own.
    pub fn start() -> RealPostgres {
        RealPostgres::with(&[])
    }

    fn with(options: &[&str]) -> RealPostgres {
        let owner = std::process::id().to_string();
        let printed = script(&[&["start", "--owner", &owner], options].concat());
        let named = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        RealPostgres {
            dir: named("POSTGRES_DIR").expect("postgres.sh names its folder").to_owned(),
            url: named("DATABASE_URL").expect("postgres.sh names the server").to_owned(),
        }
    }

    /// A new, empty database of its own, named after `name` and this process.
    pub fn database(&self, name: &str) -> TestDatabase {
        let name = format!("{}_{}", name.replace('-', "_"), std::process::id());
        let mut server = PgConnection::establish(&self.url).expect("the server answers");
        sql_query(format!("CREATE DATABASE {name}")).execute(&mut server).expect("a database can be made");
        let (start, _) = self.url.rsplit_once('/').expect("an address ends with a database");
        TestDatabase { url: format!("{start}/{name}") }
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        script(&["kill", &self.dir]);
    }

    /// Starts it again with its data.
    pub fn up(&self) {
        script(&["up", &self.dir]);
    }
}

impl Drop for RealPostgres {
    fn drop(&mut self) {
        let stopped = postgres_sh(&["stop", &self.dir]).status();
        if !std::thread::panicking() {
            assert!(stopped.is_ok_and(|status| status.success()), "postgres.sh stop failed");
        }
    }
}

/// One database of a server.
pub struct TestDatabase {
    pub url: String,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

impl TestDatabase {
    /// A connection of the test's own; waits for a server that is just coming up.
    pub fn connect(&self) -> PgConnection {
        eventually_some(PATIENCE, "the database answers", || PgConnection::establish(&self.url).ok())
    }

    /// Runs statements.
    pub fn run(&self, sql: &str) {
        use diesel::connection::SimpleConnection as _;
        self.connect().batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// What `SELECT expression FROM ...` gives, each row as the text of its columns, separated by `|`.
    pub fn lines(&self, columns: &str, rest: &str) -> Vec<String> {
        let query = format!("SELECT concat_ws('|', {columns}) AS line FROM {rest}");
        let lines: Vec<Line> =
            sql_query(&query).load(&mut self.connect()).unwrap_or_else(|error| panic!("{query}: {error}"));
        lines.into_iter().map(|line| line.line).collect()
    }

    /// One number; 0 where the database does not answer, or has no such table.
    pub fn number(&self, query: &str) -> i64 {
        let Ok(mut connection) = PgConnection::establish(&self.url) else { return 0 };
        let number = sql_query(format!("SELECT ({query})::bigint AS number")).get_result(&mut connection);
        number.map_or(0, |number: Number| number.number)
    }
}

fn postgres_sh(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh"));
    command.args(arguments);
    command
}

fn script(arguments: &[&str]) -> String {
    let output = postgres_sh(arguments).output().expect("scripts/postgres.sh runs");
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "postgres.sh {arguments:?} failed:\n{complaints}");
    said.into_owned()
}
