//! The poll thread's turn and its shutdown in virtual time: the real hub in the order of `net/poller.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use sluice::handoff::{Bell, Sleep};
use sluice::net::Hub;
use sluice::session::{AdminView, Now};

use crate::stream::Pipe;

/// As in `net/poller.rs`.
const TICK_US: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    Reading { until_us: u64, deadline_us: u64 },
    HandingOver { deadline_us: u64 },
    Delivering { deadline_us: u64 },
    Farewell { until_us: u64 },
    Done,
}

pub struct PollSide {
    pub hub: Hub<Pipe>,
    pub rung: Arc<AtomicBool>,
    pub phase: Phase,
    /// 0 = run, 1 = drain, 2 = now.
    pub level: u8,
    /// The accept queues in one: (who, whether it speaks HTTP, stream).
    pub backlog: VecDeque<(usize, bool, Pipe)>,
    /// Who got which slot and generation in this turn.
    pub accepted: Vec<(usize, u32, u16)>,
    bell: Bell,
    drain_us: u64,
    next_tick_us: u64,
}

impl PollSide {
    pub fn new(hub: Hub<Pipe>, bell: Bell, drain_us: u64) -> Self {
        let rung = Arc::new(AtomicBool::new(false));
        let flag = rung.clone();
        bell.install(move || flag.store(true, SeqCst));
        Self {
            hub,
            rung,
            phase: Phase::Running,
            level: 0,
            backlog: VecDeque::new(),
            accepted: Vec::new(),
            bell,
            drain_us,
            next_tick_us: 0,
        }
    }

    /// One turn; when the next one is due if nobody rings and nothing happens.
    pub fn turn(&mut self, now: Now, kafka_has_ended: bool) -> u64 {
        self.bell.announce(Sleep::Awake);
        self.hub.take_reports(now);
        self.accept_turn(now, 16);
        self.hub.read_turn(now);
        self.hub.http_turn(now);
        if self.hub.wants_view() {
            self.hub.serve_admins(&Pages, now);
        }
        self.hub.clock_turn(now);
        self.hub.write_turn(now);
        if now.us >= self.next_tick_us {
            self.next_tick_us = now.us + TICK_US;
            self.hub.housekeeping(now);
        }
        while self.advance(now, kafka_has_ended) {}
        if self.phase == Phase::Done {
            self.hub.close_all(now);
        }
        self.bell.announce(Sleep::Asleep);
        self.next_turn_us(now.us)
    }

    pub fn connections(&self) -> usize {
        self.hub.tcp_connections() + self.hub.http_connections()
    }

    fn next_turn_us(&self, now_us: u64) -> u64 {
        if self.hub.has_turns() || self.hub.has_reports() || !self.backlog.is_empty() {
            return now_us + 1;
        }
        let phase_us = match self.phase {
            Phase::Running => u64::MAX,
            Phase::Reading { until_us, .. } | Phase::Farewell { until_us } => until_us,
            Phase::HandingOver { .. } | Phase::Delivering { .. } => now_us + 10_000,
            Phase::Done => u64::MAX,
        };
        let moment_us = self.hub.next_moment_us().unwrap_or(u64::MAX);
        phase_us.min(self.next_tick_us).min(moment_us).max(now_us + 1)
    }

    fn accept_turn(&mut self, now: Now, most: usize) {
        for _ in 0..most {
            let Some((who, is_http, pipe)) = self.backlog.pop_front() else { break };
            let accepted = &mut self.accepted;
            let register = |_: &mut Pipe, slot, generation| {
                accepted.push((who, slot, generation));
                Ok::<(), ()>(())
            };
            let result = match is_http {
                false => self.hub.add_tcp(pipe, now, register),
                true => self.hub.add_http(pipe, now, register),
            };
            assert!(result.is_ok(), "nothing refuses here");
        }
    }

    /// True: a step was made.
    fn advance(&mut self, now: Now, kafka_has_ended: bool) -> bool {
        let is_now = self.level >= 2;
        let next = match self.phase {
            Phase::Running if self.level == 0 => Phase::Running,
            Phase::Running => {
                self.accept_turn(now, usize::MAX);
                self.hub.start_draining();
                Phase::Reading { until_us: now.us + self.drain_us / 2, deadline_us: now.us + self.drain_us }
            }
            Phase::Reading { until_us, deadline_us } => {
                if self.hub.is_read_out() || now.us >= until_us || is_now {
                    self.hub.stop_reading(now);
                    self.hand_over(if is_now { now.us } else { deadline_us })
                } else {
                    Phase::Reading { until_us, deadline_us }
                }
            }
            Phase::HandingOver { deadline_us } => self.hand_over(if is_now { now.us } else { deadline_us }),
            Phase::Delivering { deadline_us } => {
                if kafka_has_ended {
                    self.hub.take_reports(now);
                    self.hub.write_turn(now);
                    Phase::Farewell { until_us: deadline_us.max(now.us + 100_000) }
                } else {
                    if is_now {
                        self.hub.end.shared.close(now.us);
                        self.hub.end.alarm();
                    }
                    Phase::Delivering { deadline_us }
                }
            }
            Phase::Farewell { until_us } => match self.connections() == 0 || now.us >= until_us || is_now {
                true => Phase::Done,
                false => Phase::Farewell { until_us },
            },
            Phase::Done => Phase::Done,
        };
        std::mem::replace(&mut self.phase, next) != next
    }

    fn hand_over(&mut self, deadline_us: u64) -> Phase {
        if !self.hub.submit_rest() {
            return Phase::HandingOver { deadline_us };
        }
        self.hub.end.shared.close(deadline_us);
        self.hub.end.alarm();
        Phase::Delivering { deadline_us }
    }
}

/// Pages of a gateway that is well; what they show is tested elsewhere.
struct Pages;

impl AdminView for Pages {
    fn health(&self, body: &mut String) -> bool {
        body.push_str("{}");
        true
    }

    fn ready(&self, body: &mut String) -> bool {
        body.push_str("{}");
        true
    }

    fn metrics(&self, _: &mut String) {}

    fn state(&self, _: &mut String) {}

    fn status(&self, _: &mut String) {}
}
