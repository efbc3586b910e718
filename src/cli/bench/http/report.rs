//! What a run over HTTP says: the words and members of the TCP report where they mean the same, beside them requests
//! and statuses.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Load;
use super::client::Tally;
use crate::cli::bench::plan::Plan;
use crate::cli::bench::process::Usage;
use crate::cli::bench::report::{
    latency_json, latency_row, outcomes_json, per_second, row, seconds, usage_json, write_latency_head,
    write_outcomes, write_usage,
};
use crate::cli::bench::scrape::Outcomes;

/// A finished run.
pub struct Report {
    plan: Plan,
    target: String,
    batch: u64,
    pipeline: usize,
    ack: Option<&'static str>,
    event_bytes: usize,
    run: Tally,
    outcomes: Option<Outcomes>,
    settled_ns: Option<u64>,
    gateway: Option<Result<Usage, String>>,
}

impl Report {
    pub fn new(
        load: &Load,
        event_bytes: usize,
        run: Tally,
        outcomes: Option<Outcomes>,
        settled_ns: Option<u64>,
        gateway: Option<Result<Usage, String>>,
    ) -> Self {
        let Load { target, batch, pipeline, plan, .. } = load;
        let (target, plan, ack) = (target.clone(), plan.clone(), load.ack.map(|ack| ack.word()));
        let (batch, pipeline) = (*batch, *pipeline);
        Self { plan, target, batch, pipeline, ack, event_bytes, run, outcomes, settled_ns, gateway }
    }

    /// Whether the plan was carried out, every request has its answer, and every event that was accepted an end.
    pub fn is_complete(&self) -> bool {
        !self.is_cut() && self.run.faults.is_empty() && self.unaccounted() == 0
    }

    fn is_cut(&self) -> bool {
        !self.plan.by_time && self.run.requests < self.plan.count
    }

    fn sent(&self) -> u64 {
        self.run.requests * self.batch
    }

    /// Events without an answer, and accepted ones that no counter knows an end of.
    fn unaccounted(&self) -> u64 {
        let unanswered = (self.run.requests - self.run.answered()) * self.batch;
        let ended = match self.outcomes {
            Some(outcomes) => outcomes.total() - outcomes.rejected,
            None if self.plan.watched => 0, // the counters were to be read and could not: no success
            None => self.run.accepted,
        };
        unanswered + self.run.accepted.saturating_sub(ended)
    }

    /// Stored events and the seconds that took, by the counters or else by the answers.
    fn stored(&self) -> Option<(u64, f64)> {
        let by_counters = self.outcomes.zip(self.settled_ns).map(|(o, ns)| (o.stored, seconds(ns)));
        by_counters.or_else(|| (self.run.stored > 0).then(|| (self.run.stored, seconds(self.run.last_ns))))
    }

    /// One JSON object and a line end.
    pub fn json(&self) -> String {
        let run = &self.run;
        let answered_seconds = seconds(run.last_ns);
        let statuses: serde_json::Map<String, Value> =
            run.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
        let mut report = json!({
            "connections": self.plan.connections,
            "rate": self.plan.rate,
            "path": self.target,
            "batch": self.batch,
            "pipeline": self.pipeline,
            "ack": self.ack,
            "line_bytes": self.event_bytes,
            "requests": run.requests,
            "sent": self.sent(),
            "sent_bytes": run.bytes,
            "complete": self.is_complete(),
            "cut_short": self.is_cut(),
            "unaccounted": self.unaccounted(),
            "faults": run.faults,
            "answers": {
                "statuses": statuses,
                "accepted": run.accepted,
                "stored": run.stored,
                "seconds": answered_seconds,
                "per_second": per_second(run.accepted, answered_seconds),
                "requests_per_second": per_second(run.answered(), answered_seconds),
                "latency_ms": latency_json(&run.latency_us),
            },
            "generator_cpu_ns_per_event": run.own_cpu_ns / self.sent().max(1),
            "generator_cpu_ns_per_request": run.own_cpu_ns / run.requests.max(1),
        });
        if let Some((count, seconds)) = self.stored() {
            report["stored"] =
                json!({ "count": count, "seconds": seconds, "per_second": per_second(count, seconds) });
        }
        if let Some(outcomes) = &self.outcomes {
            report["outcomes"] = outcomes_json(outcomes);
        }
        if let Some(Ok(usage)) = &self.gateway {
            report["gateway"] = usage_json(usage, self.sent());
            report["gateway"]["cpu_ns_per_request"] = json!(usage.cpu.total_ns() / run.requests.max(1));
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
        let answered_seconds = seconds(run.last_ns);
        writeln!(out, "{:<10}{:>12}{:>12}{:>12}", "", "number", "seconds", "a second")?;
        row(out, "requests", run.answered(), answered_seconds)?;
        row(out, "accepted", run.accepted, answered_seconds)?;
        if let Some((count, seconds)) = self.stored() {
            row(out, "stored", count, seconds)?;
        }
        writeln!(out)?;
        write_latency_head(out)?;
        let from = if self.plan.rate > 0 { "due" } else { "write" };
        latency_row(out, &format!("{from} to answer (2xx)"), &run.latency_us)?;
        writeln!(out)?;
        write!(out, "sent       {} requests, {} events, {} bytes", run.requests, self.sent(), run.bytes)?;
        writeln!(
            out,
            ": POST {}, {} events a request, {} in flight",
            self.target, self.batch, self.pipeline
        )?;
        write!(out, "answers   ")?;
        run.statuses.iter().try_for_each(|(status, count)| write!(out, " {status}={count}"))?;
        writeln!(out)?;
        if let Some(outcomes) = &self.outcomes {
            write_outcomes(out, outcomes)?;
        }
        if self.is_cut() {
            writeln!(out, "CUT SHORT  {} of {} requests sent", run.requests, self.plan.count)?;
        }
        if self.unaccounted() > 0 {
            writeln!(out, "MISSING    {} events are not accounted for", self.unaccounted())?;
        }
        run.faults.iter().take(5).try_for_each(|fault| writeln!(out, "FAULT      {fault}"))?;
        write_usage(out, self.gateway.as_ref(), self.sent())?;
        if let Some(Ok(usage)) = &self.gateway {
            writeln!(out, "           {} ns/request", usage.cpu.total_ns() / run.requests.max(1))?;
        }
        writeln!(out, "generator  {} ns/request", run.own_cpu_ns / run.requests.max(1))
    }
}
