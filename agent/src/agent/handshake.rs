//! The first exchange on a new connection: the head with the kites, and the
//! relay's answer.

use std::io;

use super::outage::Outage;
use crate::net::Connection;
use crate::wire::{Answer, HeadReader, MAX_ANSWER_BYTES, Step};

/// A relay that answered.
pub(super) struct Registered {
    pub(super) connection: Connection,
    pub(super) answer: Answer,
    /// What came glued to the answer.
    pub(super) rest: Vec<u8>,
    pub(super) step: Step,
}

/// Sends the head of the handshake and reads the relay's.
pub(super) async fn exchange(
    connection: &Connection,
    request: &[u8],
) -> Result<(Answer, Vec<u8>), Outage> {
    connection.write_all(request).await.map_err(Outage::Lost)?;
    let mut head = HeadReader::new(MAX_ANSWER_BYTES);
    let mut buffer = vec![0; 4096];
    loop {
        match connection.try_read(&mut buffer) {
            Ok(0) => return Err(Outage::Closed),
            Ok(length) => {
                let mut input = &buffer[..length];
                if let Some(head) = head.read(&mut input).map_err(Outage::Protocol)? {
                    let answer = Answer::parse(head).map_err(Outage::Protocol)?;
                    return Ok((answer, input.to_vec()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable().await.map_err(Outage::Lost)?;
            }
            Err(error) => return Err(Outage::Lost(error)),
        }
    }
}
