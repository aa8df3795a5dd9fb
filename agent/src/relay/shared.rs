//! What all connections of a relay share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event_listener::Event as Bell;
use log::{Level, info, log, warn};
use smol::LocalExecutor;

use super::access_log::AccessLog;
use super::active::Active;
use super::admission;
use super::challenge::{Challenges, SECRET_BYTES};
use super::flights::Flights;
use super::quota::Quotas;
use super::rates::AddressRates;
use super::registrar::{Judged, fill_random};
use super::reply::{self, RelayMark};
use super::session_ids::SessionIds;
use super::tunnels::{AgentTunnel, TunnelId};
use super::visitor_rates::VisitorRates;
use crate::config::KiteQuota;
use crate::net::Acceptor;
use crate::tunnel::Buffers;
use crate::wire::{Answer, KiteId, write_hex};

/// Seconds that the relay's own clock shows at its start: more than two windows
/// of challenges, so that none is of the time before.
const CLOCK_START: u64 = 3600;
/// Bytes that may wait for slow visitors, all tunnels together: a quarter of a
/// host with one gigabyte.
const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;
/// Refused kites that are told in the log in a minute, and addresses that are
/// turned away; the rest is counted.
const TOLD_REFUSALS: u32 = 10;

/// The ids of all sessions.
pub(super) type Sessions = SessionIds<TunnelId>;

/// A running relay.
pub(super) struct Relay {
    pub(super) executor: &'static LocalExecutor<'static>,
    /// What the configuration says now.
    active: RefCell<Rc<Active>>,
    pub(super) flights: RefCell<Flights<TunnelId>>,
    pub(super) tunnels: RefCell<BTreeMap<TunnelId, Rc<AgentTunnel>>>,
    pub(super) sessions: RefCell<Sessions>,
    pub(super) challenges: RefCell<Challenges>,
    pub(super) quotas: RefCell<Quotas>,
    pub(super) rates: RefCell<AddressRates>,
    pub(super) visitor_rates: RefCell<VisitorRates>,
    pub(super) buffers: Rc<Buffers>,
    pub(super) access_log: AccessLog,
    /// Connections that are no tunnels (yet), and how many of them are known to
    /// be visitors.
    pub(super) callers: Cell<usize>,
    pub(super) visitors: Cell<usize>,
    /// Streams of visitors so far, and their bytes to kites and from them.
    pub(super) visits: Cell<u64>,
    pub(super) traffic: Cell<(u64, u64)>,
    uuid: String,
    started: Instant,
    next_tunnel: Cell<u64>,
    is_stopping: Cell<bool>,
    /// Rung when the stop begins.
    stop: Bell,
    /// Refusals of this minute, and when it began.
    refusals: Cell<(u32, Instant)>,
    /// The same of addresses that began to be turned away.
    lockouts: Cell<(u32, Instant)>,
}

impl Relay {
    pub(super) fn new(
        executor: &'static LocalExecutor<'static>,
        active: Active,
        access_log: AccessLog,
    ) -> Rc<Self> {
        let mut secret = [0; SECRET_BYTES];
        fill_random(&mut secret);
        let mut random = [0; 20];
        fill_random(&mut random);
        let mut uuid = vec![0; 40];
        write_hex(&random, &mut uuid);
        let now = Instant::now();
        Rc::new(Self {
            executor,
            flights: RefCell::new(Flights::new()),
            tunnels: RefCell::default(),
            sessions: RefCell::default(),
            challenges: RefCell::new(Challenges::new(secret)),
            quotas: RefCell::new(Quotas::new()),
            rates: RefCell::new(AddressRates::new(&active.settings.limits)),
            visitor_rates: RefCell::new(VisitorRates::new()),
            buffers: Buffers::new(MAX_HELD_BYTES),
            access_log,
            callers: Cell::new(0),
            visitors: Cell::new(0),
            visits: Cell::new(0),
            traffic: Cell::new((0, 0)),
            uuid: uuid.into_iter().map(char::from).collect(),
            started: now,
            next_tunnel: Cell::new(1),
            is_stopping: Cell::new(false),
            stop: Bell::new(),
            refusals: Cell::new((0, now)),
            lockouts: Cell::new((0, now)),
            active: RefCell::new(Rc::new(active)),
        })
    }

    /// What the configuration says now.
    pub(super) fn active(&self) -> Rc<Active> {
        Rc::clone(&self.active.borrow())
    }

    /// Goes on with another configuration. Kites that may fly no longer come
    /// down; nothing else is touched.
    pub(super) fn activate(&self, active: Active) {
        self.rates.borrow_mut().set_limits(&active.settings.limits);
        *self.active.borrow_mut() = Rc::new(active);
        self.review_kites();
    }

    pub(super) fn next_tunnel(&self) -> TunnelId {
        let id = self.next_tunnel.get();
        self.next_tunnel.set(id + 1);
        TunnelId(id)
    }

    /// Seconds of a clock that never goes back.
    pub(super) fn seconds(&self) -> u64 {
        CLOCK_START + self.started.elapsed().as_secs()
    }

    pub(super) fn now(&self) -> admission::Now {
        admission::Now { seconds: self.seconds(), unix_seconds: unix_seconds() }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// From now on no agent is let in, and pings tell them to go elsewhere.
    pub(super) fn begin_to_stop(&self) {
        self.is_stopping.set(true);
        self.stop.notify(usize::MAX);
    }

    /// Waits until the relay begins to stop.
    pub(super) async fn stops(&self) {
        let bell = self.stop.listen();
        if !self.is_stopping() {
            bell.await;
        }
    }

    /// The certificate for those who ask for this name, or for none.
    pub(super) fn acceptor(&self, name: Option<&str>) -> Option<Acceptor> {
        let active = self.active();
        let certificates = active.certificates.borrow();
        match name {
            Some(name) => certificates.find(name),
            None => certificates.default(),
        }
        .cloned()
    }

    /// Whether TLS for this name can end here.
    pub(super) fn has_certificate(&self, name: &str) -> bool {
        self.active().certificates.borrow().find(name).is_some()
    }

    /// What a kite has left of its day.
    pub(super) fn left_kilobytes(&self, kite: &KiteId, quota: &KiteQuota) -> Option<i64> {
        self.quotas.borrow().left_kilobytes(kite.domain(), quota, Instant::now())
    }

    /// What an agent is told after its kites were judged.
    pub(super) fn answer(&self, judged: &Judged, session: &str) -> Answer {
        let active = self.active();
        let settings = &active.settings;
        let told = |port: &u16| {
            let alias = settings.port_aliases.iter().find(|(heard, _)| heard == port);
            alias.map_or(*port, |&(_, told)| told).to_string()
        };
        let mut raw_ports: Vec<String> =
            settings.raw_ports.connect.iter().map(ToString::to_string).collect();
        if settings.raw_ports.any {
            raw_ports.push("virtual".to_owned());
        }
        Answer {
            add_kites: true,
            zlib_chunks: settings.compress,
            protocols: settings.protocols.clone(),
            ports: settings.ports.iter().map(told).collect(),
            raw_ports,
            results: judged.results.clone(),
            session_id: Some(session.to_owned()),
            motd: Some(active.motd.clone()),
            quota: judged.quota,
            ..Answer::default()
        }
    }

    /// The answer to a probe of an agent (`protocol.md` 2.4), if it is one.
    pub(super) fn probe(&self, head: &[u8]) -> Option<Vec<u8>> {
        if let Some(rest) = head.strip_prefix(b"PING ") {
            return Some(reply::pong(rest));
        }
        let is_ping = head
            .split(|&byte| byte == b'\n')
            .any(|line| line.trim_ascii().eq_ignore_ascii_case(b"Host: ping.pagekite"));
        is_ping.then(|| {
            let mark = RelayMark { uuid: &self.uuid, overloaded: self.is_overloaded() };
            reply::ping(mark, false)
        })
    }

    /// Whether agents had better go elsewhere: this relay is about to stop, or
    /// has nearly as many tunnels as it takes.
    fn is_overloaded(&self) -> bool {
        let most = self.active().settings.limits.max_tunnels;
        self.is_stopping() || self.tunnels.borrow().len() >= most - most / 10
    }

    /// Tells the log that a kite was refused; a flood of them is counted.
    pub(super) fn tell_refusal(&self, address: IpAddr, kite: &KiteId, why: &str) {
        let (level, untold) = count_told(&self.refusals, Level::Info);
        if untold > 0 {
            info!("{untold} more kites were refused in the minute before");
        }
        log!(level, "agent {address}: {kite} refused: {why}");
    }

    /// Tells the log that agents from `address` are turned away from now on; a
    /// flood of them is counted.
    pub(super) fn tell_lockout(&self, address: IpAddr) {
        let (level, untold) = count_told(&self.lockouts, Level::Warn);
        if untold > 0 {
            warn!("agents from {untold} more addresses were turned away in the minute before");
        }
        let time = match self.active().settings.limits.failure_rate.seconds {
            60 => "a minute".to_owned(),
            seconds => format!("{seconds} s"),
        };
        log!(
            level,
            "agents from {address} are turned away for {time}: too many refused kites \
             (ratelimit_auth); look for a device with a wrong secret"
        );
    }
}

/// Counts one more of what is told [`TOLD_REFUSALS`] times in a minute: the
/// level at which it is told now, and how many were not told in the minute
/// before, if that is just over.
fn count_told(counter: &Cell<(u32, Instant)>, level: Level) -> (Level, u32) {
    let now = Instant::now();
    let (mut told, mut since) = counter.get();
    let mut untold = 0;
    if now.saturating_duration_since(since) >= Duration::from_secs(60) {
        untold = told.saturating_sub(TOLD_REFUSALS);
        (told, since) = (0, now);
    }
    counter.set((told.saturating_add(1), since));
    (if told < TOLD_REFUSALS { level } else { Level::Debug }, untold)
}

/// Seconds since 1970, as far as the machine knows.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A path as it is after the process was locked into `root`; `None` when the
/// file lies outside and cannot be read any more.
pub(super) fn inside(root: Option<&Path>, path: &Path) -> Option<PathBuf> {
    match root {
        None => Some(path.to_owned()),
        Some(root) => path.strip_prefix(root).ok().map(|rest| Path::new("/").join(rest)),
    }
}
