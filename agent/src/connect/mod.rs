//! The visitor's end: connects a pair of pipes, or every connection to a local
//! port, to a port of a kite, by HTTP CONNECT inside of TLS (`protocol.md` 11).
//!
//! Visitors run it on whatever computer they have, so nothing here is peculiar
//! to one system.

pub mod answer;
mod carry;
mod failure;
mod listen;
mod open;
mod pipes;

use std::io::Write;
use std::net::SocketAddr;

use crate::config::{RelayAddress, Security};

pub use answer::MAX_ANSWER_BYTES;
pub use failure::Failure;
pub use listen::MAX_CONNECTIONS;
pub use open::ANSWER_TIMEOUT;

/// Bytes that are moved at once, in each direction of each connection.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Where to, and which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Name of the kite, in lower case.
    pub kite: String,
    /// Its port.
    pub port: u16,
    /// The relay that carries it.
    pub relay: RelayAddress,
    /// Whether nobody named the relay, and the kite's name stands for it.
    pub relay_is_guess: bool,
    /// How the way to the relay is protected.
    pub security: Security,
    /// The local address whose connections are brought there; `None` is
    /// standard input and output.
    pub listen: Option<SocketAddr>,
}

/// Carries bytes until the far end ends, or, with [`Visit::listen`], until the
/// program is stopped. `output` is told where that listens, `errors` why a
/// single connection failed.
///
/// # Errors
/// What went wrong, in words for whoever typed the command.
pub fn run(visit: Visit, output: &mut dyn Write, errors: &mut dyn Write) -> Result<(), Failure> {
    let listen = visit.listen;
    let way = open::Way::new(visit)?;
    match listen {
        Some(address) => listen::run(way, address, output, errors),
        None => async_io::block_on(pipes::run(&way)),
    }
}
