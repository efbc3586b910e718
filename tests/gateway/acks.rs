//! A sender that asked for answers (`#ack`) and keeps an account of what it was told (G12).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use sluice::wire::ack::{self, Answer};

use crate::support::{PATIENCE, Sluice};

/// What was told of a message that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Retry(String),
    Fix(String),
    Unknown(String),
}

pub struct AckSender {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    pub account: Account,
}

/// The answers so far.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The highest number that a `+` named.
    pub plus: u64,
    /// Messages that a `-` or a `?` named, by number.
    pub named: BTreeMap<u64, Told>,
    /// The number of the last line, `. N`.
    pub closed: Option<u64>,
}

impl Account {
    /// Takes one line in, and checks what holds for every account: numbers are told once, and in order.
    #[track_caller]
    fn take(&mut self, line: &str) {
        assert_eq!(self.closed, None, "{line:?} after the last line");
        let (n, told) = match ack::parse(line.as_bytes()).unwrap_or_else(|_| panic!("no answer: {line:?}")) {
            Answer::Stored(n) => {
                assert!(n > self.plus, "+ {n} after + {}", self.plus);
                self.plus = n;
                return;
            }
            Answer::Closed(n) => {
                self.closed = Some(n);
                return;
            }
            Answer::Retry { n, code, .. } => (n, Told::Retry(code.to_owned())),
            Answer::Fix { n, code, .. } => (n, Told::Fix(code.to_owned())),
            Answer::Unknown { n, code } => (n, Told::Unknown(code.to_owned())),
        };
        assert!(self.named.last_key_value().is_none_or(|(last, _)| *last < n), "{line:?} out of order");
        assert!(n > self.plus, "{line:?} after + {}", self.plus);
        self.named.insert(n, told);
    }

    /// Messages whose fate is told.
    pub fn told(&self) -> u64 {
        self.plus.max(self.named.last_key_value().map_or(0, |(last, _)| *last))
    }

    /// Messages that are stored as far as told.
    pub fn stored(&self) -> u64 {
        self.plus - self.named.range(..=self.plus).count() as u64
    }

    pub fn count(&self, wanted: impl Fn(&Told) -> bool) -> u64 {
        self.named.values().filter(|told| wanted(told)).count() as u64
    }
}

impl AckSender {
    /// Connects and asks for answers.
    pub fn connect(sluice: &Sluice) -> AckSender {
        let mut stream = sluice.connect();
        stream.write_all(b"#ack\n").unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        AckSender { stream, reader, account: Account::default() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the gateway reads");
    }

    /// The socket, for senders that do something else than send.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads answers until the account satisfies `enough`.
    #[track_caller]
    pub fn await_account(&mut self, what: &str, enough: impl Fn(&Account) -> bool) -> &Account {
        let start = Instant::now();
        while !enough(&self.account) {
            let left = PATIENCE.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) => panic!("closed before {what}: {:?}", self.account),
                Ok(_) => self.account.take(&line),
                Err(error) => panic!("{error} before {what}: {:?}", self.account),
            }
        }
        &self.account
    }

    /// Sends no more, and reads to the end: the whole account, closed by its last line and the end of the stream.
    #[track_caller]
    pub fn finish(mut self) -> Account {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self.read_to_end()
    }

    /// Reads to the end without having closed anything.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Account {
        self.await_account("the last line", |account| account.closed.is_some());
        let mut rest = String::new();
        assert_eq!(self.reader.read_line(&mut rest).unwrap_or(0), 0, "{rest:?} after the last line");
        self.account.clone()
    }
}
