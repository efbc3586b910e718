//! Slots for connections. A slot's generation tells a receipt or an event of the past from one of today.

use std::collections::VecDeque;

use super::conn::Conn;
use crate::handoff::Address;

/// Freed slots that rest before one is used again: a generation then comes back after two million connections.
const RESTING_SLOTS: usize = 64;

/// Connections by slot.
pub struct Table<S> {
    slots: Vec<Slot<S>>,
    free: VecDeque<u32>,
    count: usize,
}

struct Slot<S> {
    generation: u16,
    conn: Option<Box<Conn<S>>>,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), count: 0 }
    }
}

impl<S> Table<S> {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Makes a connection for the next free slot; `make` gets the slot's new generation.
    pub fn insert(&mut self, make: impl FnOnce(u32, u16) -> Conn<S>) -> u32 {
        let slot = match self.free.len() > RESTING_SLOTS {
            true => self.free.pop_front(),
            false => None,
        };
        let slot = slot.unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, conn: None });
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.generation = ((u32::from(entry.generation) + 1) % Address::GENERATION_MODULUS) as u16;
        entry.conn = Some(Box::new(make(slot, entry.generation)));
        self.count += 1;
        slot
    }

    pub fn get(&mut self, slot: u32) -> Option<&mut Conn<S>> {
        self.slots.get_mut(slot as usize)?.conn.as_deref_mut()
    }

    /// The connection that an address means, unless it is gone.
    pub fn at(&mut self, slot: u32, generation: u16) -> Option<&mut Conn<S>> {
        self.get(slot).filter(|conn| conn.generation == generation)
    }

    pub fn remove(&mut self, slot: u32) -> Option<Conn<S>> {
        let conn = self.slots.get_mut(slot as usize)?.conn.take()?;
        self.free.push_back(slot);
        self.count -= 1;
        Some(*conn)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Conn<S>)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| Some((slot as u32, entry.conn.as_deref()?)))
    }

    pub fn slots(&self) -> Vec<u32> {
        self.iter().map(|(slot, _)| slot).collect()
    }
}
