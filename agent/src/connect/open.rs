//! One way to a kite: a connection to its relay, and the relay's consent.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use async_io::Timer;
use smol::future;

use super::answer::{self, Answer};
use super::failure::Failure;
use super::{BUFFER_BYTES, MAX_ANSWER_BYTES, Visit};
use crate::config::Security;
use crate::net::{Connection, Connector, OpenError, OpeningChoice, SocketOptions};

/// Longest time for the answer to `CONNECT`. A relay gives it before the
/// device is asked, but PageKite's own takes seconds when many come at once.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The way, which may be gone many times.
pub(super) struct Way {
    visit: Visit,
    connector: Connector,
    opening: Cell<OpeningChoice>,
}

impl Way {
    /// Prepares TLS.
    pub(super) fn new(visit: Visit) -> Result<Self, Failure> {
        let connector = Connector::new(&visit.security).map_err(Failure::Setup)?;
        let has_names = match &visit.security {
            Security::Tls(tls) => !tls.names.is_empty(),
            Security::Plain => false,
        };
        Ok(Self {
            visit,
            connector: connector.with_socket_options(SocketOptions::VISIT),
            opening: Cell::new(OpeningChoice::new(has_names)),
        })
    }

    pub(super) fn visit(&self) -> &Visit {
        &self.visit
    }

    /// Connects to the kite; `first` takes what has arrived of the stream with
    /// the answer, and the number of its bytes is returned.
    pub(super) async fn open(
        &self,
        first: &mut [u8; BUFFER_BYTES],
    ) -> Result<(Connection, usize), Failure> {
        let connection = self.open_relay().await.map_err(|error| Failure::Open {
            error: Box::new(error),
            relay_is_guess: self.visit.relay_is_guess,
        })?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let expiry = async {
            Timer::at(deadline).await;
            Err(Failure::Timeout(self.visit.relay.clone()))
        };
        let length = future::or(self.ask(&connection, first), expiry).await?;
        Ok((connection, length))
    }

    /// The way that worked last; when the relay turns that away, the other.
    async fn open_relay(&self) -> Result<Connection, OpenError> {
        let relay = &self.visit.relay;
        let mut choice = self.opening.get();
        let first = match self.connector.open(relay, choice.opening()).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        if !choice.failed(&first.failure) {
            return Err(first);
        }
        let second = self.connector.open(relay, choice.opening()).await;
        if second.is_ok() {
            self.opening.set(choice);
        }
        second.map_err(|_| first)
    }

    async fn ask(
        &self,
        connection: &Connection,
        first: &mut [u8; BUFFER_BYTES],
    ) -> Result<usize, Failure> {
        const { assert!(MAX_ANSWER_BYTES < BUFFER_BYTES) };
        let relay = || self.visit.relay.clone();
        let request = answer::request(&self.visit.kite, self.visit.port);
        connection.write_all(&request).await.map_err(|error| self.no_answer(&error))?;
        let mut filled = 0;
        loop {
            // The head never fills the buffer, so there is room.
            match connection.read_some(&mut first[filled..]).await {
                Ok(0) => return Err(Failure::NoAnswer(relay())),
                Ok(length) => filled += length,
                Err(error) => return Err(self.no_answer(&error)),
            }
            match answer::read(&first[..filled]) {
                Answer::More => {}
                Answer::Established(head) => {
                    first.copy_within(head..filled, 0);
                    return Ok(filled - head);
                }
                Answer::Refused(refusal) => return Err(Failure::Refused(relay(), refusal)),
            }
        }
    }

    /// The connection broke before the answer.
    fn no_answer(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Failure::NoAnswer(self.visit.relay.clone())
            }
            _ => self.lost(error),
        }
    }

    /// The connection broke.
    pub(super) fn lost(&self, error: &io::Error) -> Failure {
        let words = crate::net::in_words(error);
        Failure::Lost(format!("relay {}: connection lost: {words}", self.visit.relay))
    }
}
