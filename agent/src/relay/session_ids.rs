//! The names that tunnels have outside: what an agent sends back as Replace
//! when it comes again (`protocol.md` 3.6).
//!
//! A tunnel has one id for its whole life. The reference makes a new one with
//! each answer, and its own agent sends back an old one.

use std::collections::HashMap;

use crate::wire::WINDOW_SECONDS;

/// Bytes of randomness in an id: it cannot be guessed.
pub const RANDOM_BYTES: usize = 20;
/// First legs of handshakes that are remembered of each ten minutes. Only who
/// knows the id of a living tunnel adds one. About 6 MB when full.
const MAX_FIRST_LEGS: usize = 16_384;

/// The ids of all connections of agents that live.
#[derive(Debug)]
pub struct SessionIds<T> {
    tunnels: HashMap<String, T>,
    /// Ended connection and the living one that it wanted to replace, noted in
    /// this window and in the one before.
    first_legs: [HashMap<String, String>; 2],
    window: u64,
}

impl<T: Copy + PartialEq> SessionIds<T> {
    /// No connection yet.
    pub fn new() -> Self {
        Self { tunnels: HashMap::new(), first_legs: Default::default(), window: 0 }
    }

    /// Makes an id for a new connection: the time in hexadecimal, a colon, and
    /// `random` as 40 digits.
    pub fn add(&mut self, tunnel: T, unix_seconds: u64, random: [u8; RANDOM_BYTES]) -> String {
        let mut id = format!("{unix_seconds:x}:");
        for byte in random {
            id.push_str(&format!("{byte:02x}"));
        }
        self.tunnels.insert(id.clone(), tunnel);
        id
    }

    /// Forgets the id of a connection that has ended.
    pub fn remove(&mut self, id: &str) {
        self.tunnels.remove(id);
    }

    /// Whether a living connection has this id.
    pub fn is_live(&self, id: &str) -> bool {
        self.tunnels.contains_key(id)
    }

    /// Notes that the connection `id`, which is closed after its challenge,
    /// wanted to replace another. Agents that answer on a new connection name
    /// the first one there, and no longer the tunnel they lost (`protocol.md`
    /// 3.3). `seconds` are those of a clock that never goes back.
    pub fn note_first_leg(&mut self, id: &str, replace: &str, seconds: u64) {
        let window = seconds / WINDOW_SECONDS;
        if window > self.window {
            let before = std::mem::take(&mut self.first_legs[0]);
            let is_next = window == self.window + 1;
            self.first_legs[1] = if is_next { before } else { HashMap::new() };
            self.window = window;
        }
        let target = if self.is_live(replace) { Some(replace) } else { self.first_leg(replace) };
        let Some(target) = target.filter(|target| *target != id && self.is_live(target)) else {
            return;
        };
        let target = target.to_owned();
        if self.first_legs[0].len() < MAX_FIRST_LEGS {
            self.first_legs[0].insert(id.to_owned(), target);
        }
    }

    /// The tunnels that a Replace means: the one that has the id, or the one
    /// that the first leg of the same handshake named. They are closed only
    /// when [`super::takeover::takeover`] says so.
    pub fn replaced(&self, replace: &str) -> Vec<T> {
        let named = self.tunnels.get(replace);
        let meant = self.first_leg(replace).and_then(|id| self.tunnels.get(id));
        named.into_iter().chain(meant).copied().collect()
    }

    fn first_leg(&self, id: &str) -> Option<&str> {
        self.first_legs.iter().find_map(|legs| legs.get(id)).map(String::as_str)
    }
}

impl<T: Copy + PartialEq> Default for SessionIds<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (SessionIds<u32>, String) {
        let mut ids = SessionIds::new();
        let first = ids.add(1, 0x6b02_a836, [0xab; RANDOM_BYTES]);
        (ids, first)
    }

    #[test]
    fn an_id_is_written_as_the_reference_writes_it() {
        let (ids, id) = ids();
        assert_eq!(id, format!("6b02a836:{}", "ab".repeat(20)));
        assert!(ids.is_live(&id));
        assert_eq!(ids.replaced(&id), [1]);
        for wrong in ["", "6b02a836:", &id[..48], &format!("{id} ")] {
            assert!(ids.replaced(wrong).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn the_second_leg_replaces_what_the_first_one_wanted_to() {
        let (mut ids, old) = ids();
        let leg = ids.add(2, 0, [1; RANDOM_BYTES]);
        ids.note_first_leg(&leg, &old, 0);
        ids.remove(&leg);
        assert_eq!(ids.replaced(&leg), [1]);
        // Challenged again, and on a third connection.
        let second = ids.add(3, 0, [2; RANDOM_BYTES]);
        ids.note_first_leg(&second, &leg, WINDOW_SECONDS);
        assert_eq!(ids.replaced(&second), [3, 1], "itself, as long as it lives, and the old one");
        ids.remove(&second);
        assert_eq!(ids.replaced(&second), [1]);
        ids.remove(&old);
        assert!(ids.replaced(&second).is_empty(), "the old tunnel has ended by itself");
    }

    #[test]
    fn first_legs_are_forgotten_and_never_many() {
        let (mut ids, old) = ids();
        ids.note_first_leg("leg", &old, 0);
        ids.note_first_leg("junk", "no such tunnel", 0);
        assert_eq!(ids.first_legs[0].len(), 1, "only of living tunnels");
        ids.note_first_leg("other", &old, WINDOW_SECONDS);
        assert_eq!(ids.replaced("leg"), [1]);
        ids.note_first_leg("other", &old, 2 * WINDOW_SECONDS);
        assert!(ids.replaced("leg").is_empty());
        for number in 0..2 * MAX_FIRST_LEGS {
            ids.note_first_leg(&number.to_string(), &old, 2 * WINDOW_SECONDS);
        }
        assert_eq!(ids.first_legs[0].len(), MAX_FIRST_LEGS);
        ids.note_first_leg("late", &old, 9 * WINDOW_SECONDS);
        assert!(ids.replaced("other").is_empty() && ids.replaced("late") == [1]);
    }
}
