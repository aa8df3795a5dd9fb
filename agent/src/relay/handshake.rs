//! Lets an agent in and runs its tunnel (`protocol.md` 3).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::{Level, log};
use smol::future;

use super::access::is_let_in;
use super::caller::Caller;
use super::guest::Guest;
use super::registrar::{Judged, Registrar};
use super::shared::Relay;
use super::takeover::{PROBE_TIME_BEFORE_FRAME, PROBE_TIME_BEFORE_HEAD};
use super::tunnels::AgentTunnel;
use super::{answer, reply};
use crate::net::{Connection, before};
use crate::tunnel::{News, Notify, Owner, Tunnel, TunnelEnd};
use crate::wire::{
    Heartbeat, MAX_BODY_BYTES, MAX_REQUEST_BYTES, Open, Role, SMALL_BODY_BYTES, Session,
    SessionSettings, TunnelRequest, Verdict,
};

/// What agents of ours put before their version.
const OUR_AGENT: &str = "Kitelet-";
/// Longest version text that is kept.
const MAX_VERSION_BYTES: usize = 40;
/// Pause between the head and the first frame for agents that take everything
/// in one read for the head (libpagekite, `protocol.md` 17).
const HEAD_PAUSE: Duration = Duration::from_millis(250);
/// Time that a new tunnel may have no kite (`protocol.md` 10).
const KITELESS_TIME: Duration = Duration::from_secs(60);
/// Time that a tunnel has after all of its kites were refused, to read why.
/// Agents rely on the end of the connection to try again (`protocol.md` 3.4).
const REFUSED_TIME: Duration = Duration::from_secs(1);
/// Requests for kites that wait to be judged; one who sends more has not
/// waited for an answer.
const MAX_PENDING: usize = 4;

/// An agent that was let in.
struct Arrived {
    connection: Connection,
    _guest: Guest,
    version: String,
    /// It reads zlib chunks.
    zlib_chunks: bool,
    /// It wants no messages that are not needed.
    is_mobile: bool,
    registrar: Registrar,
    judged: Judged,
}

/// Answers the head of a handshake and runs the tunnel, if one comes of it.
pub(super) async fn take(relay: &Rc<Relay>, caller: Caller, head: Vec<u8>) {
    // In a box of its own: the tunnel stays for days, the handshake does not.
    if let Some(agent) = Box::pin(let_in(relay, caller, head)).await {
        run(relay, agent).await;
    }
}

/// Answers the head; the agent, if its tunnel is to run.
async fn let_in(relay: &Rc<Relay>, caller: Caller, head: Vec<u8>) -> Option<Arrived> {
    let Caller { connection, from, guest } = caller;
    let address = from.peer.ip();
    let active = relay.active();
    let is_welcome = is_let_in(&active.settings.tunnel_rules, address)
        && !relay.rates.borrow_mut().is_turned_away(address, Instant::now());
    if !is_welcome {
        answer::answer(&connection, reply::FORBIDDEN).await;
        return None;
    }
    let is_full = relay.tunnels.borrow().len() >= active.settings.limits.max_tunnels;
    let request = TunnelRequest::parse(&head);
    let (Ok(request), false, false) = (request, is_full, relay.is_stopping()) else {
        answer::answer(&connection, reply::UNAVAILABLE).await;
        return None;
    };
    if request.kites.is_empty() {
        return None;
    }
    drop(active);
    let mut registrar = Registrar::new(relay, address, request.replace.clone());
    let deadline = Instant::now() + PROBE_TIME_BEFORE_HEAD;
    let judged = registrar.judge(&request.kites, request.add_kites, deadline).await;
    let keeps = judged.any(&Verdict::Flying) || (request.add_kites && judged.any_challenge());
    let head = relay.answer(&judged, registrar.session_id()).encode();
    answer::write(&connection, &head).await.ok()?;
    if !keeps {
        registrar.note_first_leg();
        answer::close(&connection).await;
        return None;
    }
    if !request.add_kites {
        Timer::after(HEAD_PAUSE).await;
    }
    guest.became_agent();
    let version = shown_version(request.version.as_deref().unwrap_or("unknown"));
    let (zlib_chunks, is_mobile) = (request.zlib_chunks, request.mobile);
    Some(Arrived { connection, _guest: guest, version, zlib_chunks, is_mobile, registrar, judged })
}

async fn run(relay: &Rc<Relay>, agent: Arrived) {
    let Arrived { connection, _guest, version, zlib_chunks, is_mobile, mut registrar, judged } =
        agent;
    let active = relay.active();
    let settings = &active.settings;
    let is_ours = version.starts_with(OUR_AGENT);
    let session = Session::new(SessionSettings {
        role: Role::Relay,
        max_streams: settings.limits.max_streams,
        max_header_bytes: MAX_REQUEST_BYTES,
        compress: settings.compress && zlib_chunks,
        guard_bursts: !is_ours,
    });
    let max_body = if is_ours { MAX_BODY_BYTES } else { SMALL_BODY_BYTES };
    let max_buffered = settings.buffer_kilobytes * 1024;
    let buffers = Rc::clone(&relay.buffers);
    let tunnel = Tunnel::new(connection, session, buffers, max_body, max_buffered);
    let keepalive = Duration::from_secs(settings.keepalive_seconds.into());
    let heartbeat = Heartbeat::new(Instant::now(), keepalive, true);
    drop(active);
    let agent = Rc::new(AgentTunnel {
        id: registrar.id(),
        tunnel: Rc::clone(&tunnel),
        address: registrar.address(),
        version,
        is_mobile,
        kites: RefCell::new(judged.admitted),
        streams: Cell::new(0),
        idle: Notify::default(),
        has_flown: Cell::new(false),
        told_quota: Cell::new(None),
    });
    relay.add_tunnel(&agent);
    relay.review_kites_of(&agent);
    registrar.tell(&agent);
    let requests = Rc::new(Requests::default());
    let mut owner = AgentOwner { requests: Rc::clone(&requests) };
    let began = Instant::now();
    let run = tunnel.run(&[], heartbeat, &mut owner);
    let register = register(relay, &agent, &mut registrar, &requests);
    let end = future::or(run, register).await;
    let (address, version) = (agent.address, &agent.version);
    let (told, seconds) = (end.told_of("agent"), began.elapsed().as_secs());
    let told = match end {
        TunnelEnd::Dropped(_) => format!("the tunnel ends after {seconds} s: {told}"),
        _ => format!("{told} after {seconds} s"),
    };
    // Anybody can open a tunnel on which nothing flies, again and again.
    let level = if agent.has_flown.get() { Level::Info } else { Level::Debug };
    log!(level, "agent {address} ({version}): {told}");
}

/// Requests for kites on a running tunnel.
#[derive(Default)]
struct Requests {
    waiting: RefCell<VecDeque<TunnelRequest>>,
    bell: Notify,
}

impl Requests {
    /// The next one. Most agents ask once: no memory is kept for others.
    fn next(&self) -> Option<TunnelRequest> {
        let mut waiting = self.waiting.borrow_mut();
        let next = waiting.pop_front();
        if waiting.is_empty() {
            *waiting = VecDeque::new();
        }
        next
    }
}

/// Answers them one after the other; ends when the tunnel has no kite for too
/// long.
async fn register(
    relay: &Rc<Relay>,
    agent: &Rc<AgentTunnel>,
    registrar: &mut Registrar,
    requests: &Requests,
) -> TunnelEnd {
    // Asking again and again gains no time: a place is for who can fly.
    let mut kiteless_until = Instant::now() + KITELESS_TIME;
    loop {
        let request = requests.next();
        if let Some(request) = request {
            let deadline = Instant::now() + PROBE_TIME_BEFORE_FRAME;
            // In a box, as it happens once in the life of most tunnels.
            let judged = Box::pin(registrar.judge(&request.kites, true, deadline)).await;
            let payload = relay.answer(&judged, registrar.session_id()).encode_payload();
            agent.tunnel.with_session(|session| session.send_payload(payload));
            if !judged.any_challenge() {
                kiteless_until = kiteless_until.min(Instant::now() + REFUSED_TIME);
            }
            if !judged.admitted.is_empty() {
                agent.add(judged.admitted);
                relay.review_kites_of(agent);
                registrar.tell(agent);
            }
            continue;
        }
        let has_kites = !agent.kites.borrow().is_empty();
        if !has_kites && Instant::now() >= kiteless_until {
            return TunnelEnd::Dropped("it had no kite that may fly");
        }
        let next = if has_kites { registrar.next_review() } else { kiteless_until };
        before(next, requests.bell.wait()).await;
        if has_kites && Instant::now() >= registrar.next_review() {
            Box::pin(registrar.review(agent)).await;
        }
    }
}

/// What becomes of what an agent says.
struct AgentOwner {
    requests: Rc<Requests>,
}

impl Owner for AgentOwner {
    /// Streams are the relay's to open; the session refuses them.
    fn open(&mut self, _: &Rc<Tunnel>, _: u32, _: &Open<'_>) -> Result<(), Vec<u8>> {
        Err(Vec::new())
    }

    fn refuse(&mut self, _: &Rc<Tunnel>, _: &Open<'_>) -> Vec<u8> {
        Vec::new()
    }

    fn news(&mut self, _: &mut Session, news: News) -> Result<(), TunnelEnd> {
        let News::Request(request) = news else { return Ok(()) };
        let mut waiting = self.requests.waiting.borrow_mut();
        if waiting.len() >= MAX_PENDING {
            return Err(TunnelEnd::Dropped("it asks for kites without end"));
        }
        waiting.push_back(*request);
        self.requests.bell.notify();
        Ok(())
    }
}

/// The agent's version as it may stand in a log.
fn shown_version(version: &str) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "-._+".contains(*letter);
    version.chars().filter(is_plain).take(MAX_VERSION_BYTES).collect()
}
