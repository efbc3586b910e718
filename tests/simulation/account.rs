//! What one sender was told, held against what was promised (G12) and against what really happened.

use std::collections::BTreeSet;

use sluice::event::Outcome;
use sluice::wire::ack::{self, Answer};

use crate::script::{Script, What};
use crate::truth::Truth;

/// The answers as their reader understands them.
#[derive(Debug, Default)]
pub struct Told {
    unread: Vec<u8>,
    /// Every number up to here that is not in `named` is stored.
    plus: u64,
    named: BTreeSet<u64>,
    pub closed: Option<u64>,
}

impl Told {
    /// The sender reads more answers; `sent` of its bytes had left it by then.
    pub fn read(&mut self, bytes: &[u8], sent: usize, script: &Script, truth: &Truth) {
        self.unread.extend(bytes);
        let mut from = 0;
        while let Some(at) = self.unread[from..].iter().position(|byte| *byte == b'\n') {
            let line = self.unread[from..from + at].to_vec();
            from += at + 1;
            self.line(&line, sent, script, truth);
        }
        self.unread.drain(..from);
    }

    fn line(&mut self, line: &[u8], sent: usize, script: &Script, truth: &Truth) {
        let shown = line.escape_ascii();
        assert!(self.closed.is_none(), "{shown} after the last line");
        let answer = ack::parse(line).unwrap_or_else(|_| panic!("no answer line: {shown}"));
        let said = script.messages.iter().take_while(|said| said.may_from <= sent).count() as u64;
        let (Answer::Stored(n)
        | Answer::Retry { n, .. }
        | Answer::Fix { n, .. }
        | Answer::Unknown { n, .. }
        | Answer::Closed(n)) = answer;
        assert!(n <= said, "{shown}: only {said} messages were sent");
        match answer {
            Answer::Stored(n) => self.stored(n, script, truth),
            Answer::Closed(n) => self.close(n),
            _ => {
                assert!(n > self.plus, "{shown}: told stored before");
                assert!(self.named.insert(n), "{shown}: named twice");
                check_named(answer, script, truth);
            }
        }
    }

    fn stored(&mut self, n: u64, script: &Script, truth: &Truth) {
        assert!(n > self.plus, "+ {n} after + {}", self.plus);
        for number in (self.plus + 1..=n).filter(|number| !self.named.contains(number)) {
            match script.messages[number as usize - 1].what {
                What::Bad(code) => panic!("+ {n} covers {number}, which is refused as {code}"),
                What::Good(id) => {
                    let good = truth.goods[id];
                    assert_eq!(
                        good.own.in_log, 1,
                        "+ {n} covers {number}, which is not in the topic: {good:?}"
                    );
                    assert_eq!(good.own.reported, Some(Outcome::Stored), "+ {n} covers {number}: {good:?}");
                }
            }
        }
        self.plus = n;
    }

    fn close(&mut self, n: u64) {
        self.closed = Some(n);
        let open = (self.plus + 1..=n).find(|number| !self.named.contains(number));
        assert_eq!(open, None, ". {n}, and nothing was said of a number");
    }

    /// No answer is cut in half.
    pub fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }
}

/// `- retry`, `- fix` and `?` against the truth.
fn check_named(answer: Answer<'_>, script: &Script, truth: &Truth) {
    let (n, code, allowed): (u64, &str, &[Option<Outcome>]) = match answer {
        // Nobody reports a record that never left our side.
        Answer::Retry { n, code, .. } => (n, code, &[None, Some(Outcome::NotStored)]),
        Answer::Fix { n, code, .. } => (n, code, &[Some(Outcome::Rejected)]),
        Answer::Unknown { n, code } => (n, code, &[Some(Outcome::Unknown)]),
        Answer::Stored(_) | Answer::Closed(_) => return,
    };
    match script.messages[n as usize - 1].what {
        What::Good(id) => {
            let good = truth.goods[id];
            assert!(allowed.contains(&good.own.reported), "{answer:?}, but {good:?}");
            assert!(
                good.own.in_log == 0 || matches!(answer, Answer::Unknown { .. }),
                "{answer:?}, but {good:?}"
            );
        }
        What::Bad(expected) => {
            assert!(matches!(answer, Answer::Fix { .. }), "{answer:?} for a message refused as {expected}");
            assert_eq!(code, expected, "message {n}");
        }
    }
}

/// At the very end: what was told as not stored is still not in the topic; the good messages (or none) that were told
/// `- retry`.
pub fn check_at_the_end(said: &[u8], script: &Script, truth: &Truth) -> Vec<Option<usize>> {
    let mut retries = Vec::new();
    for line in said.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let Ok(answer) = ack::parse(line) else { panic!("no answer line: {}", line.escape_ascii()) };
        if let Answer::Retry { n, .. } = answer {
            retries.push(match script.messages[n as usize - 1].what {
                What::Good(id) => Some(id),
                What::Bad(_) => None,
            });
        }
        check_named(answer, script, truth);
    }
    retries
}
