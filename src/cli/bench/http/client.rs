//! One connection: which requests are due, which are in flight, what their answers say. Holds no socket.

use std::collections::{BTreeMap, VecDeque};

use hdrhistogram::Histogram;

use super::Load;
use super::requests::Requests;
use crate::cli::bench::answers::{histogram, record};
use crate::wire::http1::parse_reply;

/// What a run's answers add up to.
pub struct Tally {
    pub requests: u64,
    pub bytes: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Events that an answer of success covers, and those of them that it says are stored.
    pub accepted: u64,
    pub stored: u64,
    /// Due time (open loop) or begin of the write (closed loop) to the whole answer, of 2xx but 207, in microseconds.
    pub latency_us: Histogram<u64>,
    /// When the last answer came, in nanoseconds of the run.
    pub last_ns: u64,
    pub faults: Vec<String>,
    pub own_cpu_ns: u64,
}

impl Tally {
    pub fn new() -> Self {
        Self {
            requests: 0,
            bytes: 0,
            statuses: BTreeMap::new(),
            accepted: 0,
            stored: 0,
            latency_us: histogram(),
            last_ns: 0,
            faults: Vec::new(),
            own_cpu_ns: 0,
        }
    }

    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        other.statuses.iter().for_each(|(status, count)| *self.statuses.entry(*status).or_default() += count);
        self.accepted += other.accepted;
        self.stored += other.stored;
        let _ = self.latency_us.add(&other.latency_us); // both grow by themselves: never out of range
        self.last_ns = self.last_ns.max(other.last_ns);
        self.faults.extend(other.faults);
        self.own_cpu_ns += other.own_cpu_ns;
    }
}

pub struct Client {
    i: u32,
    quota: u64,
    begun: u64,
    /// When those in flight were due.
    due: VecDeque<u64>,
    /// What is still to be written.
    pub out: Vec<u8>,
    pub written: usize,
    /// The start of an answer that is not complete.
    carry: Vec<u8>,
    pub is_over: bool,
}

impl Client {
    pub fn new(i: u32, load: &Load) -> Self {
        Self {
            i,
            quota: load.plan.quota(i),
            begun: 0,
            due: VecDeque::with_capacity(load.pipeline),
            out: Vec::new(),
            written: 0,
            carry: Vec::new(),
            is_over: false,
        }
    }

    /// Begins the requests that are due. When the next one is, if that is known.
    pub fn begin(&mut self, load: &Load, requests: &Requests, now_ns: u64, tally: &mut Tally) -> Option<u64> {
        while !self.is_over && self.due.len() < load.pipeline {
            let due_ns = if load.is_open() { load.due_ns(self.i, self.begun) } else { now_ns };
            if self.begun >= self.quota || due_ns >= load.plan.sending_ns() {
                self.quota = self.begun; // nothing more is begun
                self.is_over = self.due.is_empty();
                return None;
            }
            if due_ns > now_ns {
                return Some(due_ns);
            }
            let request = requests.get(self.i, load.plan.connections, self.begun);
            self.out.extend_from_slice(request);
            self.due.push_back(due_ns);
            self.begun += 1;
            tally.requests += 1;
            tally.bytes += request.len() as u64;
        }
        None
    }

    pub fn has_begun_all(&self) -> bool {
        self.begun >= self.quota
    }

    /// Takes bytes of answers.
    ///
    /// Errors: it is no answer, or one to nothing.
    pub fn hear(
        &mut self,
        input: &[u8],
        batch: u64,
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<(), &'static str> {
        if self.carry.is_empty() {
            let used = self.take(input, batch, now_ns, tally)?;
            self.carry.extend_from_slice(&input[used..]);
            return Ok(());
        }
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(input);
        let used = self.take(&carry, batch, now_ns, tally)?;
        carry.drain(..used);
        self.carry = carry;
        Ok(())
    }

    fn take(
        &mut self,
        input: &[u8],
        batch: u64,
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<usize, &'static str> {
        let mut used = 0;
        while used < input.len()
            && let Some(reply) = parse_reply(&input[used..])?
        {
            let body = &input[used..][reply.body.clone()];
            used += reply.body.end;
            if reply.status < 200 {
                continue;
            }
            let due_ns = self.due.pop_front().ok_or("an answer to no request")?;
            *tally.statuses.entry(reply.status).or_default() += 1;
            tally.last_ns = now_ns;
            match reply.status {
                207 => tally.accepted += accepted_of(body).ok_or("a 207 that does not say how many")?,
                200..=299 => {
                    tally.accepted += batch;
                    tally.stored += if reply.status == 200 { batch } else { 0 };
                    record(&mut tally.latency_us, now_ns.saturating_sub(due_ns), 1);
                }
                _ => {}
            }
            if reply.closes {
                return Err("the peer closes the connection");
            }
        }
        Ok(used)
    }
}

/// What stands at the end of a batch's answer: `"accepted":N,"refused":M}`.
fn accepted_of(body: &[u8]) -> Option<u64> {
    let end = std::str::from_utf8(&body[body.len().saturating_sub(80)..]).ok()?;
    let (_, rest) = end.rsplit_once("\"accepted\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_however_they_are_cut() {
        let answers = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}\
            HTTP/1.1 207 Multi-Status\r\nContent-Length: 38\r\n\r\n{\"items\":[\n],\"accepted\":1,\"refused\":1}\
            HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
            .as_bytes();
        for step in 1..answers.len() {
            let (mut tally, mut carry) = (Tally::new(), client(&[0, 1_000_000, 2_000_000]));
            for piece in answers.chunks(step) {
                carry.hear(piece, 2, 5_000_000, &mut tally).unwrap();
            }
            assert_eq!(tally.statuses, BTreeMap::from([(202, 1), (207, 1), (503, 1)]), "{step}");
            assert_eq!((tally.accepted, tally.stored, tally.latency_us.len()), (3, 0, 1));
            assert!((4_990..=5_010).contains(&tally.latency_us.max()), "from when it was due");
            assert!(carry.due.is_empty() && carry.carry.is_empty());
        }
    }

    #[test]
    fn answers_that_cannot_be_end_the_conversation() {
        for (answer, why) in [
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "an answer to no request"),
            ("+ 1\n", "it is not HTTP/1"),
        ] {
            assert_eq!(client(&[]).hear(answer.as_bytes(), 1, 0, &mut Tally::new()), Err(why));
        }
        let silent = "HTTP/1.1 207 Multi-Status\r\nContent-Length: 2\r\n\r\n{}";
        let why = Err("a 207 that does not say how many");
        assert_eq!(client(&[0]).hear(silent.as_bytes(), 1, 0, &mut Tally::new()), why);
    }

    fn client(due: &[u64]) -> Client {
        Client {
            i: 0,
            quota: 9,
            begun: due.len() as u64,
            due: due.iter().copied().collect(),
            out: Vec::new(),
            written: 0,
            carry: Vec::new(),
            is_over: false,
        }
    }
}
