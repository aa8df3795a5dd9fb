//! What a visitor has sent and the service has not taken yet.

use std::io;

use crate::agent::http::RequestFilter;
use crate::net::ServiceSocket;

/// What a stream keeps in memory, in bytes. The two have nothing in common: the
/// service takes the one, and only its visitor can complete the other.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::agent) struct Held {
    /// Bytes for the service that it has not taken.
    pub(in crate::agent) waiting: usize,
    /// A request that is not complete.
    pub(in crate::agent) head: usize,
}

/// Bytes from the visitor that the service has not taken yet.
#[derive(Default)]
pub(super) struct Incoming {
    /// What the kite does to requests; `None` before the service is there and
    /// for kites that are not HTTP.
    pub(super) filter: Option<RequestFilter>,
    pub(super) waiting: Vec<u8>,
    /// How many of the waiting bytes the service has taken.
    pub(super) taken: usize,
    pub(super) received: u64,
    pub(super) delivered: u64,
    pub(super) service_is_closed: bool,
}

impl Incoming {
    /// Bytes for the service that it has not taken.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.taken
    }

    /// What takes memory.
    pub(super) fn held(&self) -> Held {
        let head = self.filter.as_ref().map_or(0, RequestFilter::held_bytes);
        Held { waiting: self.waiting_bytes(), head }
    }

    /// Gives bytes to the service at once if none wait; what it does not take
    /// waits.
    pub(super) fn pass(&mut self, socket: &ServiceSocket, mut bytes: &[u8]) {
        while self.waiting.is_empty() && !bytes.is_empty() {
            match socket.try_write(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.service_is_closed = true,
            }
            if self.service_is_closed {
                return;
            }
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// Gives waiting bytes to the service; true when it takes no more now.
    pub(super) fn flush(&mut self, socket: &ServiceSocket) -> bool {
        while self.taken < self.waiting.len() {
            match socket.try_write(&self.waiting[self.taken..]) {
                Ok(taken) => self.taken += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // With a steady backlog it is never empty; what is taken
                    // has to go from the front.
                    if self.taken >= self.waiting.len() / 2 {
                        self.waiting.drain(..self.taken);
                        self.taken = 0;
                    }
                    return true;
                }
                Err(_) => {
                    self.service_is_closed = true;
                    break;
                }
            }
        }
        // An idle stream holds no memory.
        self.waiting = Vec::new();
        self.taken = 0;
        false
    }

    /// Bytes of the visitor that are off our hands since the last call. What a
    /// filter adds to them counts for nothing.
    pub(super) fn newly_delivered(&mut self) -> usize {
        let delivered = self.received.saturating_sub(self.waiting_bytes() as u64);
        let newly = delivered.saturating_sub(self.delivered);
        self.delivered += newly;
        usize::try_from(newly).unwrap_or(usize::MAX)
    }
}
