//! Finds out that a visitor has gone while nobody reads what he sent: because
//! the agent takes no more of it, or because it is his next request. The end of
//! a connection is behind the bytes before it, but a reset shows at once to who
//! looks.

use std::time::Duration;

use async_io::Timer;

use crate::net::Connection;

/// How often is looked. A look is a call of the kernel, and who has gone holds
/// no more than a place and a descriptor.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// Waits until the connection is no longer one.
pub(super) async fn until_gone(connection: &Connection) {
    loop {
        Timer::after(LOOK_TIME).await;
        // getpeername(2) fails with ENOTCONN after a reset.
        if connection.peer_addr().is_err() {
            return;
        }
    }
}
