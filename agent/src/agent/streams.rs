//! What becomes of the streams that a relay opens: each gets a task, as far as
//! there is room.

use std::rc::Rc;

use log::warn;

use super::answer::Refusal;
use super::plan::Context;
use super::stream::Stream;
use super::visitors::Request;
use crate::tunnel::{News, Owner, Tunnel, TunnelEnd};
use crate::wire::{Open, Session};

/// The agent's side of one tunnel.
pub(super) struct Streams<'a> {
    context: &'a Context,
    max_streams: usize,
    /// Visitors that were refused above that.
    overloads: u32,
    on_news: &'a mut dyn FnMut(&mut Session, News),
}

impl<'a> Streams<'a> {
    pub(super) fn new(
        context: &'a Context,
        max_streams: usize,
        on_news: &'a mut dyn FnMut(&mut Session, News),
    ) -> Self {
        Self { context, max_streams, overloads: 0, on_news }
    }
}

impl Streams<'_> {
    /// What is sent to who is not served. Nothing while the tunnel takes
    /// nothing, since pages for endless visitors must not pile up.
    fn page(&self, tunnel: &Tunnel, open: &Open<'_>) -> Vec<u8> {
        if tunnel.has_room() {
            self.context.visitors().refuse(&Request::new(open), Refusal::Unavailable)
        } else {
            Vec::new()
        }
    }
}

impl Owner for Streams<'_> {
    fn open(&mut self, tunnel: &Rc<Tunnel>, stream: u32, open: &Open<'_>) -> Result<(), Vec<u8>> {
        if self.context.is_stopping.get() {
            return Err(self.page(tunnel, open));
        }
        // To the relay, a stream is over before its service was reached or
        // took everything.
        let has_room = tunnel.stream_count() < self.max_streams
            || tunnel.has(stream)
            || tunnel.give_up_a_left_one();
        if !has_room {
            return Err(self.refuse(tunnel, open));
        }
        let serving = Stream::new(stream, open, &self.context.visitors());
        serving.keep(self.context.executor.spawn(Rc::clone(&serving).serve(Rc::clone(tunnel))));
        tunnel.add(stream, serving);
        Ok(())
    }

    fn refuse(&mut self, tunnel: &Rc<Tunnel>, open: &Open<'_>) -> Vec<u8> {
        self.overloads = self.overloads.wrapping_add(1);
        if self.overloads.is_power_of_two() {
            warn!(
                "{} visitors in all were not served: the {} streams of a tunnel are in use \
                 (setting max_streams)",
                self.overloads, self.max_streams
            );
        }
        self.page(tunnel, open)
    }

    fn news(&mut self, session: &mut Session, news: News) -> Result<(), TunnelEnd> {
        (self.on_news)(session, news);
        Ok(())
    }
}
