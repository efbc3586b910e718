//! What a run says: as a table for people, as one JSON object for scripts. Rates in events a second, latency in ms.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::lines::Corpus;
use super::measured::{Heard, Measured};
use super::plan::Plan;
use super::process::Usage;
use super::scrape::Outcomes;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.50), ("p90", 0.90), ("p99", 0.99), ("p99_9", 0.999)];

/// A finished run.
pub struct Report {
    plan: Plan,
    line_bytes: usize,
    run: Measured,
}

impl Report {
    pub fn new(plan: &Plan, corpus: &Corpus, run: Measured) -> Self {
        Self { plan: plan.clone(), line_bytes: corpus.run(0, 1).bytes.len(), run }
    }

    /// Whether the plan was carried out and every line has a known end, as far as the run could see one.
    pub fn is_complete(&self) -> bool {
        !self.is_cut() && self.run.faults.is_empty() && self.unaccounted() == 0
    }

    fn is_cut(&self) -> bool {
        self.run.torn > 0 || (!self.plan.by_time && self.run.lines < self.plan.count)
    }

    /// Lines sent whose end is not known, by the counters and by the answers, whichever knows less.
    fn unaccounted(&self) -> u64 {
        let sent = self.run.lines + self.run.torn;
        let counted = match self.run.outcomes {
            Some(outcomes) => outcomes.total(),
            None if self.plan.watched => 0, // the counters were to be read and could not: no success
            None => sent,
        };
        let answered = self.run.answers.as_ref().map_or(sent, |a| a.totals.answered());
        sent.saturating_sub(counted.min(answered))
    }

    /// Stored events and the seconds that took, by the counters or else by the answers.
    fn stored(&self) -> Option<(u64, f64)> {
        let by_counters = self.run.outcomes.zip(self.run.settled_ns).map(|(o, ns)| (o.stored, seconds(ns)));
        by_counters.or_else(|| self.run.answers.as_ref().map(|a| (a.totals.stored, seconds(a.last_ns))))
    }

    /// One JSON object and a line end.
    pub fn json(&self) -> String {
        let run = &self.run;
        let sent_seconds = seconds(run.sent_ns);
        let mut report = json!({
            "connections": self.plan.connections,
            "rate": self.plan.rate,
            "line_bytes": self.line_bytes,
            "sent": run.lines,
            "sent_bytes": run.bytes,
            "sent_malformed": run.malformed,
            "torn": run.torn,
            "complete": self.is_complete(),
            "cut_short": self.is_cut(),
            "unaccounted": self.unaccounted(),
            "faults": run.faults,
            "enqueue": {
                "seconds": sent_seconds,
                "per_second": per_second(run.lines, sent_seconds),
                "latency_ms": latency_json(&run.send_us),
            },
            "generator_cpu_ns_per_event": run.generator_cpu_ns / run.lines.max(1),
        });
        if let Some((count, seconds)) = self.stored() {
            report["stored"] =
                json!({ "count": count, "seconds": seconds, "per_second": per_second(count, seconds) });
        }
        if let Some(heard) = &run.answers {
            report["answers"] = json!({
                "stored": heard.totals.stored, "retry": heard.totals.retry, "fix": heard.totals.fix,
                "unknown": heard.totals.unknown, "strange": heard.totals.strange,
                "accounts_closed": heard.totals.closed, "latency_ms": latency_json(&heard.stored_us),
            });
        }
        if let Some(outcomes) = &run.outcomes {
            report["outcomes"] = outcomes_json(outcomes);
        }
        if let Some(Ok(usage)) = &run.gateway {
            report["gateway"] = usage_json(usage, run.lines);
        }
        format!("{report}\n")
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text).expect("writing to a String does not fail");
        text
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let run = &self.run;
        let sent_seconds = seconds(run.sent_ns);
        writeln!(out, "{:<10}{:>12}{:>12}{:>12}", "", "events", "seconds", "events/s")?;
        row(out, "enqueued", run.lines, sent_seconds)?;
        if let Some((count, seconds)) = self.stored() {
            row(out, "stored", count, seconds)?;
        }
        writeln!(out)?;
        write_latency_head(out)?;
        let from = if self.plan.rate > 0 { "due" } else { "write" };
        latency_row(out, &format!("{from} to taken"), &run.send_us)?;
        if let Some(heard) = &run.answers {
            latency_row(out, &format!("{from} to stored"), &heard.stored_us)?;
        }
        writeln!(out)?;
        self.write_account(out)?;
        self.write_cost(out)
    }

    fn write_account(&self, out: &mut String) -> std::fmt::Result {
        let run = &self.run;
        writeln!(out, "sent       {} lines ({} malformed), {} bytes", run.lines, run.malformed, run.bytes)?;
        if let Some(outcomes) = &run.outcomes {
            write_outcomes(out, outcomes)?;
        }
        if let Some(Heard { totals: t, .. }) = &run.answers {
            writeln!(
                out,
                "answers    stored={} retry={} fix={} unknown={} strange={} accounts_closed={}/{}",
                t.stored, t.retry, t.fix, t.unknown, t.strange, t.closed, self.plan.connections
            )?;
        }
        if self.is_cut() {
            writeln!(out, "CUT SHORT  {} of {} lines sent, {} torn", run.lines, self.plan.count, run.torn)?;
        }
        if self.unaccounted() > 0 {
            writeln!(out, "MISSING    {} lines are not accounted for", self.unaccounted())?;
        }
        run.faults.iter().take(5).try_for_each(|fault| writeln!(out, "FAULT      {fault}"))
    }

    fn write_cost(&self, out: &mut String) -> std::fmt::Result {
        write_usage(out, self.run.gateway.as_ref(), self.run.lines)?;
        writeln!(out, "generator  {} ns/event", self.run.generator_cpu_ns / self.run.lines.max(1))
    }
}

pub(super) fn outcomes_json(o: &Outcomes) -> Value {
    json!({
        "stored": o.stored, "rejected": o.rejected, "not_stored": o.not_stored,
        "dead_lettered": o.dead_lettered, "dropped": o.dropped, "unknown": o.unknown,
    })
}

pub(super) fn write_outcomes(out: &mut String, o: &Outcomes) -> std::fmt::Result {
    writeln!(
        out,
        "gateway    stored={} rejected={} not_stored={} dead_lettered={} dropped={} unknown={}",
        o.stored, o.rejected, o.not_stored, o.dead_lettered, o.dropped, o.unknown
    )
}

pub(super) fn usage_json(usage: &Usage, events: u64) -> Value {
    let events = events.max(1);
    let threads: serde_json::Map<String, Value> =
        usage.cpu.by_thread.iter().map(|(name, ns)| (name.clone(), json!(ns / events))).collect();
    json!({
        "cpu_ns_per_event": usage.cpu.total_ns() / events, "cpu_ns_per_event_by_thread": threads,
        "rss_before_kib": usage.rss_before_kib, "rss_after_kib": usage.rss_after_kib,
        "rss_peak_kib": usage.rss_peak_kib,
    })
}

pub(super) fn write_usage(
    out: &mut String,
    usage: Option<&Result<Usage, String>>,
    events: u64,
) -> std::fmt::Result {
    let events = events.max(1);
    let usage = match usage {
        Some(Ok(usage)) => usage,
        Some(Err(fault)) => return writeln!(out, "CPU        not known: {fault}"),
        None => return Ok(()),
    };
    write!(out, "CPU        {} ns/event:", usage.cpu.total_ns() / events)?;
    for (name, ns) in usage.cpu.by_thread.iter().filter(|(_, ns)| **ns / events > 0) {
        write!(out, " {name}={}", ns / events)?;
    }
    let mib = |kib: u64| kib as f64 / 1024.0;
    let (before, after, peak) = (usage.rss_before_kib, usage.rss_after_kib, usage.rss_peak_kib);
    writeln!(
        out,
        "\nRSS        {:.1} MiB before, {:.1} after, {:.1} peak",
        mib(before),
        mib(after),
        mib(peak)
    )
}

pub(super) fn write_latency_head(out: &mut String) -> std::fmt::Result {
    writeln!(out, "{:<24}{:>10}{:>10}{:>10}{:>10}{:>10}", "latency, ms", "p50", "p90", "p99", "p99.9", "max")
}

pub(super) fn row(out: &mut String, name: &str, count: u64, seconds: f64) -> std::fmt::Result {
    writeln!(out, "{name:<10}{count:>12}{seconds:>12.3}{:>12.0}", per_second(count, seconds))
}

pub(super) fn latency_row(out: &mut String, name: &str, us: &Histogram<u64>) -> std::fmt::Result {
    write!(out, "{name:<24}")?;
    QUANTILES.iter().try_for_each(|(_, q)| write!(out, "{:>10.3}", ms(us.value_at_quantile(*q))))?;
    writeln!(out, "{:>10.3}", ms(us.max()))
}

pub(super) fn latency_json(us: &Histogram<u64>) -> Value {
    let mut values: serde_json::Map<String, Value> =
        QUANTILES.iter().map(|(name, q)| ((*name).to_owned(), json!(ms(us.value_at_quantile(*q))))).collect();
    values.insert("max".into(), json!(ms(us.max())));
    Value::Object(values)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
