//! Tunnels that come inside a WebSocket, from networks that let nothing else
//! through.

use super::answer;
use super::caller::Caller;
use crate::net::websocket::{End, accept_upgrade};

/// Opens the WebSocket that a head asks for.
///
/// # Errors
/// The caller, when the head asks for none; nobody, when the caller was told
/// what is wrong with it, or is gone.
pub(super) async fn open(caller: Caller, head: &[u8]) -> Result<Caller, Option<Caller>> {
    match accept_upgrade(head) {
        None => Err(Some(caller)),
        Some(Err(refusal)) => {
            answer::answer(&caller.connection, &refusal.response()).await;
            Err(None)
        }
        Some(Ok(response)) => {
            if answer::write(&caller.connection, &response).await.is_err() {
                return Err(None);
            }
            let connection = caller.connection.into_websocket(End::Server, Vec::new());
            Ok(Caller { connection, ..caller })
        }
    }
}
