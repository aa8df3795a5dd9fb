//! The two small loops that every socket needs: waiting no longer than a
//! deadline, and trying again when a signal cut a call short.

use std::future::Future;
use std::io;
use std::time::Instant;

use async_io::Timer;
use smol::future;

/// Runs `work` until `deadline`; `None` when it was not done by then. Work
/// that is done at the deadline counts as done.
pub(crate) async fn before<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    let expiry = async {
        Timer::at(deadline).await;
        None
    };
    future::or(async { Some(work.await) }, expiry).await
}

/// Repeats a system call that a signal interrupted.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
