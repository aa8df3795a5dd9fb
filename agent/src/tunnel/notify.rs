//! A bell with one listener, for tasks of one thread.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Remembers one ring until it is waited for.
#[derive(Default)]
pub(crate) struct Notify {
    rung: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl Notify {
    /// Wakes the listener, or lets its next wait end at once.
    pub(crate) fn notify(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for a ring since the last wait. One task at a time may wait.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            self.waiting.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
