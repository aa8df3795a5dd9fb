//! What lies between the two ends: connections whose bytes come in order and
//! late, or never, as TCP over a bad network has it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// First pause before lost bytes are sent again, and the longest one; they
/// double in between.
const FIRST_REPEAT: Duration = Duration::from_millis(300);
const LAST_REPEAT: Duration = Duration::from_secs(10);
/// How long a kernel waits for an acknowledgement (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes on their way, at most.
pub(crate) const WINDOW: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Device,
    Relay,
}

impl End {
    pub(crate) fn other(self) -> Self {
        if self == Self::Device { Self::Relay } else { Self::Device }
    }
}

/// What goes over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// The head of the handshake, with the tunnel that this one replaces.
    Hello(Option<u64>),
    /// The relay's: the session id, or none for a duplicate.
    Answer(Option<u64>),
    Bytes(Vec<u8>),
    End,
}

impl Piece {
    fn length(&self) -> usize {
        if let Self::Bytes(bytes) = self { bytes.len() } else { 1 }
    }
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Pipe {
    waiting: VecDeque<(Instant, Piece)>,
    held: usize,
    repeat: Option<Duration>,
}

impl Pipe {
    pub(crate) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.held)
    }

    /// Takes a piece; true when nothing was on its way before, so that its
    /// delivery has to be begun.
    pub(crate) fn push(&mut self, now: Instant, piece: Piece) -> bool {
        self.held += piece.length();
        self.waiting.push_back((now, piece));
        self.waiting.len() == 1
    }

    /// The next piece gets through.
    pub(crate) fn pass(&mut self) -> Option<Piece> {
        self.repeat = None;
        let (_, piece) = self.waiting.pop_front()?;
        self.held -= piece.length();
        Some(piece)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next piece is lost: the pause before it is sent again, or `None` when
    /// the kernel gives up.
    pub(crate) fn lose(&mut self, now: Instant) -> Option<Duration> {
        let (since, _) = self.waiting.front()?;
        if now.saturating_duration_since(*since) > USER_TIMEOUT {
            return None;
        }
        let pause = self.repeat.map_or(FIRST_REPEAT, |last| (last * 2).min(LAST_REPEAT));
        self.repeat = Some(pause);
        Some(pause)
    }
}

/// A connection, as the network sees it.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) to_relay: Pipe,
    pub(crate) to_device: Pipe,
    /// A NAT has forgotten it: nothing gets through any more, and nobody is
    /// told.
    pub(crate) is_forgotten: bool,
}

impl Wire {
    pub(crate) fn toward(&mut self, end: End) -> &mut Pipe {
        match end {
            End::Device => &mut self.to_device,
            End::Relay => &mut self.to_relay,
        }
    }
}
