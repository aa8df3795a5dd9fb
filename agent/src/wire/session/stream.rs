//! One stream of a tunnel: which of its two directions are over, what the
//! other end has to be told, and how much may be under way.

use std::time::{Duration, Instant};

use crate::wire::flow::{Receipts, SendWindow};
use crate::wire::headers::Eof;

/// The state of a stream. "Incoming" is from the tunnel to our socket.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) window: SendWindow,
    pub(super) receipts: Receipts,
    /// What the other end closed.
    pub(super) received: Eof,
    /// What we closed, told or not yet.
    closed: Eof,
    /// What the other end was told.
    told: Eof,
    /// Whether the stream waits in the queue of those with something to tell.
    pub(super) is_queued: bool,
    /// The last time that data went either way.
    pub(super) active: Instant,
    /// Whether our socket has taken data since that was looked at.
    pub(super) has_delivered: bool,
}

impl Stream {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: SendWindow::new(),
            receipts: Receipts::default(),
            received: Eof::default(),
            closed: Eof::default(),
            told: Eof::default(),
            is_queued: false,
            active: now,
            has_delivered: false,
        }
    }

    /// Whether data that comes is still wanted.
    pub(super) fn takes_data(&self) -> bool {
        !self.received.read && !self.closed.write
    }

    /// Whether data may still be sent.
    pub(super) fn may_send(&self) -> bool {
        !self.received.write && !self.closed.read
    }

    /// Notes that we close these directions.
    pub(super) fn close(&mut self, eof: Eof) {
        self.closed.read |= eof.read;
        self.closed.write |= eof.write;
    }

    /// Notes that the other end closed these directions.
    pub(super) fn receive(&mut self, eof: Eof) {
        self.received.read |= eof.read;
        self.received.write |= eof.write;
    }

    /// What the other end has yet to be told of what we closed.
    pub(super) fn untold(&self) -> Option<Eof> {
        let untold = Eof {
            read: self.closed.read && !self.told.read,
            write: self.closed.write && !self.told.write,
        };
        (untold != Eof::default()).then_some(untold)
    }

    /// Notes that the other end was told.
    pub(super) fn told(&mut self, eof: Eof) {
        self.told.read |= eof.read;
        self.told.write |= eof.write;
    }

    /// Whether a report of what was passed on is due.
    pub(super) fn owes_receipt(&self) -> bool {
        self.takes_data() && self.receipts.is_due()
    }

    /// Whether both directions are over and the other end knows it.
    pub(super) fn is_over(&self) -> bool {
        let incoming = self.received.read || self.told.write;
        let outgoing = self.received.write || self.told.read;
        incoming && outgoing
    }

    /// Whether nothing has moved for this long, be it in the tunnel or into
    /// our socket.
    pub(super) fn is_idle(&mut self, now: Instant, limit: Duration) -> bool {
        if std::mem::take(&mut self.has_delivered) {
            self.active = now;
        }
        now.saturating_duration_since(self.active) >= limit
    }

    /// Whether one direction only is over.
    pub(super) fn is_half_closed(&self) -> bool {
        self.takes_data() != self.may_send()
    }
}
