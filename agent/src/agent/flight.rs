//! A tunnel's life, from the answer to the challenge on: what the relay says
//! of the kites, what changes under the tunnel, and how it ends.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::{debug, info};
use smol::future;

use super::care::Change;
use super::handshake::Registered;
use super::outage::Outage;
use super::plan::Plan;
use super::post::Post;
use super::streams::Streams;
use super::supervisor::{Supervisor, failure_of, fill_random};
use crate::config::RelayAddress;
use crate::net::{before, resolve};
use crate::system::addresses::has_address;
use crate::tunnel::{News, Notify, Tunnel, TunnelEnd};
use crate::wire::{
    Answer, Heartbeat, KiteId, KiteState, MAX_ANSWER_BYTES, MAX_BODY_BYTES, Registration, Role,
    Session, SessionSettings, Step,
};

/// Time that a relay has to accept the answer to its challenge; it gives an
/// agent that does not answer 60 seconds itself (`protocol.md` 10).
const CHALLENGE_TIME: Duration = Duration::from_secs(60);
/// Time without streams after which a tunnel that drains ends. Visitors still
/// come by it until names lead elsewhere.
const DRAINED_AFTER: Duration = Duration::from_secs(10);
/// Time that streams get to end when the agent does; a service manager
/// expects the end within five seconds.
const STOP_TIME: Duration = Duration::from_secs(3);
/// How often the relay's name is looked up while its tunnel flies.
const LOOKUP_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Lookups in a row that have to miss the tunnel's address: a name with many
/// addresses gives others each time.
const MOVED_AFTER_LOOKUPS: u32 = 3;

/// Why we end a tunnel ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The relay took too long over the answer to its challenge.
    Unanswered,
    /// No kite flies.
    Refused,
    /// The address that it comes from is gone.
    AddressIsGone,
    /// It is to be had anew, with other kites.
    Renewed,
    /// Nobody needs it any more.
    Drained,
}

impl Supervisor {
    /// The tunnel's life; `None` when it is to be had anew or not at all.
    pub(super) async fn fly(
        &mut self,
        plan: &Plan,
        mut registration: Registration,
        registered: Registered,
    ) -> Option<Outage> {
        let Registered { connection, answer, rest, step } = registered;
        let settings = &plan.settings;
        let now = Instant::now();
        let heartbeat = Heartbeat::new(now, self.keepalive.interval(now), may_be_pinged(&answer));
        let mut session = Session::new(SessionSettings {
            role: Role::Agent,
            max_streams: settings.max_streams,
            max_header_bytes: MAX_ANSWER_BYTES,
            compress: settings.compress && answer.zlib_chunks,
            guard_bursts: answer.web_sockets,
        });
        if step == Step::AnswerHere {
            session.send_payload(registration.answer_payload(&mut fill_random));
        }
        let tunnel = Tunnel::new(
            connection,
            session,
            Rc::clone(&self.context.buffers),
            MAX_BODY_BYTES,
            settings.buffer_kilobytes * 1024,
        );
        self.session_id = registration.session_id().map(str::to_owned);
        let is_flying = Cell::new(false);
        if step == Step::Fly {
            is_flying.set(true);
            self.flies(plan, &tunnel, &registration);
        }
        self.log.kites(&self.endpoint.relay, &registration, false);
        self.log.quota(&self.endpoint.relay, &answer.quota);
        let refused = Cell::new(None);
        let over = Notify::default();
        let context = Rc::clone(&self.context);
        let post = Rc::clone(&self.post);
        let relay = self.endpoint.relay.clone();
        // A proxy looks the name up itself, and its own address says nothing.
        let watches_name =
            self.endpoint.address.is_none() && settings.proxy.to(&self.endpoint.relay).is_none();
        let mut on_news = |session: &mut Session, news: News| match news {
            News::Quota(quota) => self.log.quota(&self.endpoint.relay, &quota),
            News::Answer(answer) => {
                let step = registration.apply(&answer);
                let is_final = matches!(step, Step::Reconnect | Step::Refused);
                self.log.kites(&self.endpoint.relay, &registration, is_final);
                self.log.quota(&self.endpoint.relay, &answer.quota);
                if let Some(id) = registration.session_id() {
                    self.session_id = Some(id.to_owned());
                    self.remember_session();
                }
                match step {
                    Step::Fly => {
                        is_flying.set(true);
                        refused.set(None);
                        self.flies(plan, &tunnel, &registration);
                    }
                    Step::Wait => {}
                    Step::AnswerHere => {
                        session.send_payload(registration.answer_payload(&mut fill_random));
                    }
                    Step::Reconnect | Step::Refused => {
                        self.tell_refused(&registration);
                        refused.set(Some(failure_of(&registration)));
                        over.notify();
                    }
                }
            }
            // Only agents ask for kites.
            News::Request(_) => {}
        };
        let mut streams = Streams::new(&context, settings.max_streams, &mut on_news);
        let run = async { Err(tunnel.run(&rest, heartbeat, &mut streams).await) };
        let unanswered = async {
            Timer::after(CHALLENGE_TIME).await;
            if is_flying.get() {
                future::pending::<()>().await;
            }
            Ok(Cut::Unanswered)
        };
        // There is nothing to wait for, and the next try may be of use soon.
        let turned_away = async {
            over.wait().await;
            Ok(Cut::Refused)
        };
        let told = async { Ok(obey(&post, &tunnel, &context.is_stopping).await) };
        let moving = async {
            if watches_name {
                watch_name(&post, &relay).await;
            }
            future::pending().await
        };
        let ends = future::or(future::or(told, moving), future::or(unanswered, turned_away));
        let end = future::or(run, ends).await;
        self.log.tunnel_ended();
        let relay = &self.endpoint.relay;
        if let Some(failure) = refused.get() {
            return Some(Outage::Refused(failure));
        }
        match end {
            Err(end) => {
                let is_silent = match &end {
                    TunnelEnd::Silent => true,
                    TunnelEnd::Lost(error) => error.kind() == io::ErrorKind::TimedOut,
                    _ => false,
                };
                self.keepalive.ended(is_silent && !tunnel.ended_with_streams());
                Some(Outage::Ended(end))
            }
            Ok(Cut::Unanswered | Cut::Refused) => Some(Outage::Timeout),
            Ok(Cut::AddressIsGone) => {
                info!("relay {relay}: this machine's address has changed; connecting anew");
                None
            }
            Ok(Cut::Renewed) => {
                tunnel.hang_up();
                info!("relay {relay}: nobody uses the tunnel; connecting anew for the changes");
                None
            }
            Ok(Cut::Drained) => {
                tunnel.hang_up();
                debug!("relay {relay}: the tunnel is not needed any more");
                None
            }
        }
    }

    /// At least one kite flies, or one more than before.
    fn flies(&mut self, plan: &Plan, tunnel: &Tunnel, registration: &Registration) {
        let now = Instant::now();
        self.with_care(|care| care.flies(now));
        if self.keepalive.flies(now) {
            let seconds = self.keepalive.interval(now).as_secs();
            let relay = &self.endpoint.relay;
            info!("relay {relay}: the path forgets silent tunnels; keepalive is {seconds} s now");
        }
        self.is_well();
        self.remember_session();
        self.tell_refused(registration);
        // By a proxy, this is the proxy's, and none of the relay.
        let is_direct = plan.settings.proxy.to(&self.endpoint.relay).is_none();
        let address = tunnel.addresses().ok().map(|(_, address)| address);
        let address = address.filter(|_| is_direct);
        if let (true, Some(address)) = (self.endpoint.address.is_none(), address) {
            let relay = self.endpoint.relay.to_string();
            self.context.state.borrow_mut().remember_addresses(&relay, &[address.ip()], now);
        }
        self.remember_time(now);
        let flying: Vec<KiteId> = registration
            .kites()
            .filter(|(_, state)| **state == KiteState::Flying)
            .map(|(id, _)| id.clone())
            .collect();
        self.post.tell_back(|report| {
            report.flying = flying;
            report.failures = 0;
            report.address = address;
        });
    }
}

/// Does what the supervisor is told while the tunnel flies, until that ends it.
async fn obey(post: &Post, tunnel: &Tunnel, is_stopping: &Cell<bool>) -> Cut {
    loop {
        if is_stopping.get() {
            before(Instant::now() + STOP_TIME, tunnel.wait_until_empty()).await;
            return Cut::Drained;
        }
        if post.take_change() > Some(Change::Hope) {
            let local = tunnel.addresses().map(|(local, _)| local);
            if local.is_ok_and(|local| !has_address(local.ip())) {
                return Cut::AddressIsGone;
            }
            tunnel.doubt();
        }
        let told = async {
            post.wait().await;
            None
        };
        let cut = if post.is_leaving() {
            future::or(told, drained(tunnel)).await
        } else if post.wants_renewal() {
            let empty = async {
                tunnel.wait_until_empty().await;
                Some(Cut::Renewed)
            };
            future::or(told, empty).await
        } else {
            told.await
        };
        if let Some(cut) = cut {
            return cut;
        }
    }
}

async fn drained(tunnel: &Tunnel) -> Option<Cut> {
    loop {
        tunnel.wait_until_empty().await;
        Timer::after(DRAINED_AFTER).await;
        if tunnel.stream_count() == 0 {
            return Some(Cut::Drained);
        }
    }
}

/// Tells when the relay's name leads elsewhere for good. Never ends.
async fn watch_name(post: &Post, relay: &RelayAddress) {
    let mut misses = 0;
    loop {
        Timer::after(LOOKUP_AGAIN_AFTER).await;
        // A name server that is silent says nothing about the relay.
        let Ok(addresses) = resolve(&relay.host, relay.port).await else { continue };
        let Some(ours) = post.report().address else { continue };
        let is_there = addresses.iter().any(|address| address.ip() == ours.ip());
        misses = if is_there { 0 } else { misses + 1 };
        if misses >= MOVED_AFTER_LOOKUPS {
            misses = 0;
            post.tell_back(|report| report.has_moved = true);
        }
    }
}

/// PageKite's relays that do not know the protocol `minecraft` are of the age
/// that dies of an agent's PING (`protocol.md` 18). They announce WebSockets,
/// which no other relay does.
fn may_be_pinged(answer: &Answer) -> bool {
    let is_young = |protocol: &String| protocol.eq_ignore_ascii_case("minecraft");
    !answer.web_sockets || answer.protocols.iter().any(is_young)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_relays_of_pagekites_get_no_pings() {
        let answer = |web_sockets, protocols: &[&str]| Answer {
            web_sockets,
            protocols: protocols.iter().map(|&name| name.to_owned()).collect(),
            ..Answer::default()
        };
        assert!(!may_be_pinged(&answer(true, &["http", "raw"])));
        assert!(may_be_pinged(&answer(true, &["http", "raw", "minecraft"])));
        assert!(may_be_pinged(&answer(false, &["http", "raw"])), "a relay with few protocols");
    }
}
