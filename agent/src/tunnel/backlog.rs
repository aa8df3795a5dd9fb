//! What came through the tunnel for a socket that has not taken it yet.

use std::io;

use crate::net::Socket;

/// Bytes that the socket of a stream has not taken yet, and how many it has.
#[derive(Default)]
pub(crate) struct Backlog {
    waiting: Vec<u8>,
    /// How many of the waiting bytes the socket has taken.
    taken: usize,
    received: u64,
    delivered: u64,
    /// The socket takes nothing more.
    pub(crate) is_closed: bool,
}

impl Backlog {
    /// Counts bytes that came from the other end.
    pub(crate) fn receive(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// Bytes that came so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that the socket has taken so far, or a filter kept.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.received.saturating_sub(self.waiting_bytes() as u64)
    }

    /// Bytes for the socket that it has not taken.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.taken
    }

    /// Appends bytes for a socket that is not there yet.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Takes all that waits out, to begin anew.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.taken = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Gives bytes to the socket at once if none wait; what it does not take
    /// waits.
    pub(crate) fn pass(&mut self, socket: &impl Socket, mut bytes: &[u8]) {
        while self.waiting.is_empty() && !bytes.is_empty() {
            match socket.try_write(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.is_closed = true,
            }
            if self.is_closed {
                return;
            }
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// Gives waiting bytes to the socket; true when it takes no more now.
    pub(crate) fn flush(&mut self, socket: &impl Socket) -> bool {
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
                    self.is_closed = true;
                    break;
                }
            }
        }
        // An idle stream holds no memory.
        self.waiting = Vec::new();
        self.taken = 0;
        match socket.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => self.is_closed = true,
            Ok(()) => {}
        }
        false
    }

    /// Bytes of the other end that are off our hands since the last call. What
    /// a filter adds to them counts for nothing.
    pub(crate) fn newly_delivered(&mut self) -> usize {
        let newly = self.taken_bytes().saturating_sub(self.delivered);
        self.delivered += newly;
        usize::try_from(newly).unwrap_or(usize::MAX)
    }
}
