//! Tunnels that come inside a WebSocket.

use super::caller::Caller;

pub(super) fn is_asked_for(_head: &[u8]) -> bool {
    false
}

pub(super) async fn accept(_caller: Caller, _head: &[u8]) -> Option<Caller> {
    None
}
