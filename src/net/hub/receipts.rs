//! What the Kafka thread tells: receipts go to the sessions that wait for them, lanes that opened wake who waited.
//!
//! Owns nothing; part of the hub.

use super::*;

impl<S: Stream> Hub<S> {
    /// Phase "receipts": takes all reports of the Kafka thread.
    pub fn take_reports(&mut self, now: Now) {
        while let Some(report) = self.end.next_report() {
            match report {
                Report::Receipts(receipts) => {
                    for receipt in &receipts {
                        self.settle(receipt, now);
                    }
                }
                Report::Lanes(lanes) => {
                    self.desk.lanes = lanes;
                    self.wake_lane_waiters();
                }
            }
        }
    }

    fn settle(&mut self, receipt: &Receipt, now: Now) {
        let slot = receipt.to.slot;
        if slot == HOST_SLOT {
            self.end.shared.hosts.settle(receipt);
            return;
        }
        #[cfg(feature = "http")]
        if matches!(slot, crate::handoff::KEYED_SLOT | crate::handoff::KEYED_TAKEN_SLOT) {
            return self.settle_keyed(receipt, now);
        }
        let Some(conn) = self.table.at(slot, receipt.to.generation) else {
            if receipt.outcome == crate::event::Outcome::NotStored {
                self.end.shared.ledger.lose(1);
            }
            return;
        };
        if let Some(latency_us) = conn.settle(receipt, now.us) {
            self.end.shared.latency.record_n(latency_us, 1);
            if self.dirty.last() != Some(&slot) {
                self.dirty.push(slot);
            }
        }
    }

    fn wake_lane_waiters(&mut self) {
        let (table, ready, lanes) = (&mut self.table, &mut self.ready, &self.desk.lanes);
        self.lane_waiting.retain(|slot| {
            // The slot may be another's by now.
            let Some(conn) = table.get(*slot).filter(|conn| conn.wait == Wait::Lane) else { return false };
            let parked = conn.tcp().and_then(|session| session.parked());
            if parked.is_some_and(|record| !lanes.takes(record)) {
                return true;
            }
            conn.wait = Wait::Turn;
            ready.push_back(*slot);
            false
        });
    }
}
