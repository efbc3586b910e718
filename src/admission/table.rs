//! A map of fixed capacity that knows which entry was used longest ago.
//!
//! Why not the standard map: one whose keys come and go grows to twice its size at times, and moves everything when
//! it does. Here memory is certain from the start, every operation has a constant price, and no entry ever moves.
//! Chains hang on a table of heads (at least twice as many as entries); all slots form a ring in the order of their
//! use, vacant ones at its old end. Slot 0 is nobody's: it closes the ring, and as an index it means "none". Hashes are
//! keyed, so nobody can choose addresses that meet in one chain.

use std::hash::{BuildHasher, Hash, RandomState};

const RING: usize = 0;

#[derive(Debug)]
pub(super) struct Table<K, V> {
    hasher: RandomState,
    /// First slot of each chain.
    heads: Box<[u32]>,
    slots: Vec<Slot<K, V>>,
    capacity: usize,
    used: usize,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: Option<K>,
    value: V,
    /// Next slot of the same chain.
    chained: u32,
    /// Neighbours in the ring; the older one of slot 0 is the newest of all.
    newer: u32,
    older: u32,
}

/// Where an entry is; good until the entry is removed or taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl<K: Copy + Eq + Hash, V: Default> Table<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = clamped(capacity);
        let mut slots = Vec::with_capacity(capacity + 1);
        slots.push(Slot { key: None, value: V::default(), chained: 0, newer: 0, older: 0 });
        let heads = vec![0; heads_of(capacity)].into_boxed_slice();
        Self { hasher: RandomState::new(), heads, slots, capacity, used: 0 }
    }

    /// Bytes of a table with this capacity, full or not.
    pub(super) fn bytes(capacity: usize) -> usize {
        let capacity = clamped(capacity);
        (capacity + 1) * size_of::<Slot<K, V>>() + heads_of(capacity) * size_of::<u32>()
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn find(&self, key: &K) -> Option<Place> {
        let mut at = self.heads[self.head(key)];
        while at != 0 {
            let slot = &self.slots[at as usize];
            if slot.key.as_ref() == Some(key) {
                return Some(Place(at));
            }
            at = slot.chained;
        }
        None
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn get(&self, place: Place) -> &V {
        &self.slots[place.0 as usize].value
    }

    pub(super) fn value(&mut self, place: Place) -> &mut V {
        &mut self.slots[place.0 as usize].value
    }

    /// Makes an entry the one that was used last.
    pub(super) fn touch(&mut self, place: Place) {
        if self.slots[RING].older != place.0 {
            self.leave_ring(place.0);
            self.enter_ring(RING as u32, place.0);
        }
    }

    /// A new entry for a key that is not there; none if the table is full. Its value is the default.
    pub(super) fn insert(&mut self, key: K) -> Option<Place> {
        let oldest = self.slots[RING].newer;
        let at = if oldest != 0 && self.slots[oldest as usize].key.is_none() {
            self.leave_ring(oldest);
            oldest
        } else if self.used < self.capacity {
            self.slots.push(Slot { key: None, value: V::default(), chained: 0, newer: 0, older: 0 });
            (self.slots.len() - 1) as u32
        } else {
            return None;
        };
        self.used += 1;
        self.enter_ring(RING as u32, at);
        Some(self.enter_chain(key, at))
    }

    /// Gives the slot that was used longest ago to a key that is not there. The value stays as it was.
    pub(super) fn take_over_oldest(&mut self, key: K) -> Place {
        let at = self.slots[RING].newer;
        self.leave_chain(at);
        self.touch(Place(at));
        self.enter_chain(key, at)
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.leave_chain(place.0);
        self.slots[place.0 as usize].value = V::default();
        self.leave_ring(place.0);
        let oldest = self.slots[RING].newer;
        self.enter_ring(oldest, place.0);
        self.used -= 1;
    }

    fn head(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize & (self.heads.len() - 1)
    }

    fn enter_chain(&mut self, key: K, at: u32) -> Place {
        let head = self.head(&key);
        let slot = &mut self.slots[at as usize];
        slot.key = Some(key);
        slot.chained = std::mem::replace(&mut self.heads[head], at);
        Place(at)
    }

    fn leave_chain(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        let (Some(key), after) = (slot.key.take(), slot.chained) else { return };
        let head = self.head(&key);
        if self.heads[head] == at {
            self.heads[head] = after;
            return;
        }
        let mut before = self.heads[head];
        while self.slots[before as usize].chained != at {
            before = self.slots[before as usize].chained;
        }
        self.slots[before as usize].chained = after;
    }

    fn leave_ring(&mut self, at: u32) {
        let Slot { newer, older, .. } = self.slots[at as usize];
        self.slots[newer as usize].older = older;
        self.slots[older as usize].newer = newer;
    }

    /// Puts a slot behind `newer`, on its older side.
    fn enter_ring(&mut self, newer: u32, at: u32) {
        let older = std::mem::replace(&mut self.slots[newer as usize].older, at);
        self.slots[older as usize].newer = at;
        let slot = &mut self.slots[at as usize];
        (slot.newer, slot.older) = (newer, older);
    }
}

/// At least one entry, and as many as 31 bits count.
fn clamped(capacity: usize) -> usize {
    capacity.clamp(1, i32::MAX as usize)
}

fn heads_of(capacity: usize) -> usize {
    (capacity * 2).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a list in order of use, over and over full and empty.
    #[test]
    fn it_is_a_map_with_an_order() {
        for (seed, capacity) in [(1, 1), (2, 2), (3, 3), (4, 8), (5, 100)] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut table = Table::<u16, u32>::new(capacity);
            let mut list: Vec<(u16, u32)> = Vec::new(); // newest first
            let (mut took_over, mut emptied) = (0, 0);
            for step in 0..20_000 {
                let key = random.u16(..(capacity as u16 * 2));
                let listed = list.iter().position(|(k, _)| *k == key);
                let is_draining = step / 2_500 % 2 == 1;
                let place = table.find(&key);
                assert_eq!(place.map(|place| *table.value(place)), listed.map(|at| list[at].1));
                match (place, listed) {
                    (Some(place), Some(at)) if random.u32(..100) < if is_draining { 80 } else { 20 } => {
                        table.remove(place);
                        list.remove(at);
                        emptied += usize::from(list.is_empty());
                    }
                    (Some(place), Some(at)) => {
                        table.touch(place);
                        list[..=at].rotate_right(1);
                    }
                    _ if is_draining && random.u32(..100) < 95 => {}
                    _ => {
                        let place = table.insert(key);
                        assert_eq!(place.is_none(), list.len() == capacity);
                        let place = place.unwrap_or_else(|| {
                            let place = table.take_over_oldest(key);
                            assert_eq!(*table.value(place), list.pop().unwrap().1);
                            took_over += 1;
                            place
                        });
                        *table.value(place) = step;
                        list.insert(0, (key, step));
                    }
                }
                assert_eq!(table.len(), list.len());
            }
            assert!(took_over > 10 && (emptied > 10 || capacity == 100), "{took_over}, {emptied}");
            assert!(table.slots.len() <= capacity + 1 && table.slots.capacity() == capacity + 1);
        }
    }

    #[test]
    fn a_fresh_entry_has_the_default_value_even_in_a_used_slot() {
        let mut table = Table::<u8, u32>::new(1);
        let place = table.insert(1).unwrap();
        *table.value(place) = 7;
        table.remove(place);
        let place = table.insert(2).unwrap();
        assert_eq!((*table.value(place), table.find(&1)), (0, None));
    }
}
