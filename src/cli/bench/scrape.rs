//! Reads a gateway's outcome counters from /metrics: a plain HTTP GET a sample, no keep-alive, bounded in time and size.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const LARGEST_ANSWER: u64 = 4 << 20;
const COUNTER: &str = "gateway_records_total{";

/// Where to read counters, and what they were before the run.
pub struct Metrics {
    addr: SocketAddr,
    before: Outcomes,
}

/// Events by outcome; the words are those of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub stored: u64,
    pub rejected: u64,
    pub not_stored: u64,
    pub dead_lettered: u64,
    pub dropped: u64,
    pub unknown: u64,
}

impl Metrics {
    /// Takes the sample that later ones are counted from. Fails when the listener does not answer or has no counters.
    pub fn connect(addr: SocketAddr) -> Result<Self, String> {
        let before = fetch(addr)
            .map_err(|e| format!("--health {addr}: {e}; --health off does without stored counts"))?;
        Ok(Self { addr, before })
    }

    /// Outcomes since [`Metrics::connect`].
    pub fn sample(&self) -> Result<Outcomes, String> {
        Ok(fetch(self.addr)?.since(&self.before))
    }
}

impl Outcomes {
    pub fn total(&self) -> u64 {
        self.stored + self.rejected + self.not_stored + self.dead_lettered + self.dropped + self.unknown
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            stored: self.stored.saturating_sub(before.stored),
            rejected: self.rejected.saturating_sub(before.rejected),
            not_stored: self.not_stored.saturating_sub(before.not_stored),
            dead_lettered: self.dead_lettered.saturating_sub(before.dead_lettered),
            dropped: self.dropped.saturating_sub(before.dropped),
            unknown: self.unknown.saturating_sub(before.unknown),
        }
    }

    /// Sums the counter over all other labels. `None` when the text has no such counter.
    fn parse(text: &str) -> Option<Self> {
        let mut found = Self::default();
        let mut any = false;
        for line in text.lines() {
            let Some((labels, value)) = line.strip_prefix(COUNTER).and_then(|rest| rest.split_once("} "))
            else {
                continue;
            };
            let Some(value) = value.split(' ').next().and_then(|v| v.parse::<f64>().ok()) else { continue };
            let outcome =
                labels.split(',').find_map(|l| l.trim().strip_prefix("outcome=\"")?.strip_suffix('"'));
            let slot = match outcome {
                Some("stored") => &mut found.stored,
                Some("rejected") => &mut found.rejected,
                Some("not_stored") => &mut found.not_stored,
                Some("dead_lettered") => &mut found.dead_lettered,
                Some("dropped") => &mut found.dropped,
                Some("unknown") => &mut found.unknown,
                _ => continue,
            };
            *slot += value as u64;
            any = true;
        }
        any.then_some(found)
    }
}

fn fetch(addr: SocketAddr) -> Result<Outcomes, String> {
    let text = get(addr).map_err(|e| e.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("/metrics: not an HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("/metrics: {status}"));
    }
    Outcomes::parse(body).ok_or_else(|| format!("/metrics has no {}...}}", COUNTER))
}

fn get(addr: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(
        format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::with_capacity(16 << 10);
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_summed_over_other_labels() {
        let text = "# TYPE gateway_records_total counter\n\
            gateway_records_total{listener=\"tcp\",outcome=\"stored\"} 10\n\
            gateway_records_total{outcome=\"stored\",listener=\"api\"} 5 1700000000\n\
            gateway_records_total{outcome=\"rejected\"} 2\n\
            gateway_records_total{outcome=\"new\"} 9\n\
            gateway_queue_records 3\n";
        let found = Outcomes::parse(text).unwrap();
        assert_eq!(found, Outcomes { stored: 15, rejected: 2, ..Outcomes::default() });
        assert_eq!(found.since(&Outcomes { stored: 14, ..Outcomes::default() }).total(), 3);
        assert_eq!(Outcomes::parse("gateway_queue_records 3\n"), None);
    }
}
