//! The health listener's connections: few, short, and the first to go.
//!
//! Owns nothing; part of the hub.

use super::{After, Hub, Session, Wait};
use crate::net::stream::Stream;
use crate::session::{AdminSession, AdminView, Now};

impl<S: Stream> Hub<S> {
    /// Takes a connection of the health listener.
    pub fn add_admin<E>(
        &mut self,
        stream: S,
        now: Now,
        register: impl FnOnce(&mut S, u32, u16) -> Result<(), E>,
    ) -> Result<u32, E> {
        let session = Session::Admin(AdminSession::new(self.metrics_path.clone()));
        let slot = self.add(stream, session, now, register)?;
        self.admins += 1;
        Ok(slot)
    }

    /// Phase "admin": answers on the health listener.
    pub fn serve_admins(&mut self, view: &dyn AdminView, now: Now) {
        self.serve_viewers(view);
        for slot in std::mem::take(&mut self.admin_ready) {
            let Some(conn) = self.table.get(slot) else { continue };
            let after = conn.serve_admin(&mut self.desk, view, now);
            match (after, conn.write(&mut self.desk.answers_room)) {
                (After::Gone, _) | (_, Err(_)) => self.remove(slot, now),
                (After::Ended, Ok(true)) => self.finish(slot, now),
                (After::Ended, Ok(false)) => conn.wait = Wait::End,
                (After::Again, Ok(true)) => self.admin_ready.push(slot),
                (After::Again, Ok(false)) => conn.wait = Wait::Answers,
                (After::Idle | After::Stopped(_), Ok(_)) => conn.wait = Wait::Bytes,
            }
        }
    }

    pub fn wants_view(&self) -> bool {
        !self.admin_ready.is_empty() || !self.viewers.is_empty()
    }

    /// Closes the admin connection that has been silent for longest.
    pub fn drop_oldest_admin(&mut self, now: Now) {
        let admins = self.table.iter().filter(|(_, conn)| conn.is_admin());
        if let Some((slot, _)) = admins.min_by_key(|(_, conn)| conn.touched_us) {
            self.remove(slot, now);
        }
    }
}
