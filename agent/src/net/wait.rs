//! The two small loops that every socket needs: waiting no longer than a
//! deadline, and trying again when a signal cut a call short.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_io::Timer;
use pin_project_lite::pin_project;

/// Runs `work` until `deadline`; `None` when it was not done by then. Work
/// that is done at the deadline counts as done.
pub(crate) fn before<F: Future>(
    deadline: Instant,
    work: F,
) -> impl Future<Output = Option<F::Output>> {
    Before { work, expiry: Timer::at(deadline) }
}

pin_project! {
    /// An `async` block would hold `work` twice, and tunnels wait this way for
    /// most of their life.
    struct Before<F> {
        #[pin]
        work: F,
        #[pin]
        expiry: Timer,
    }
}

impl<F: Future> Future for Before<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.work.poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => this.expiry.poll(context).map(|_| None),
        }
    }
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
