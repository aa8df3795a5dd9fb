//! Keeps a tunnel to one relay: connects, registers the kites, lets the tunnel
//! fly, and begins again, until it is told to leave.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use ring::rand::{SecureRandom, SystemRandom};
use smol::future;

use super::assignment::{Endpoint, Report};
use super::backoff::Failure;
use super::care::{Care, Change, Next};
use super::handshake::{Registered, exchange};
use super::keepalive::Keepalive;
use super::outage::Outage;
use super::outage_log::OutageLog;
use super::plan::{Context, Plan};
use super::post::Post;
use super::registration_log::RegistrationLog;
use crate::config::{Security, Settings};
use crate::net::{
    Addresses, CERTIFICATE_CLOCK, Connection, OpenError, OpenFailure, OpeningChoice, before,
    clock_is_set,
};
use crate::system::civil::Civil;
use crate::wire::{KiteState, Registration, Step};

/// Time that a relay has to answer the head of the handshake. The reference
/// takes a second when it is idle, and longer when its authentication is slow.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);

/// Connections of one handshake: one to be challenged on and one to answer on,
/// and one more for a challenge that ran out meanwhile.
const MAX_CONNECTIONS: u32 = 3;

/// Addresses that are tried last because they took a connection and came to
/// nothing.
const MAX_LAST: usize = 8;

/// One relay.
pub(super) struct Supervisor {
    pub(super) context: Rc<Context>,
    pub(super) endpoint: Endpoint,
    pub(super) post: Rc<Post>,
    /// The configuration of the last try.
    plan: Rc<Plan>,
    pub(super) care: Cell<Care>,
    pub(super) keepalive: Keepalive,
    opening: OpeningChoice,
    /// The id by which the relay knows our last tunnel, to take its place.
    pub(super) session_id: Option<String>,
    /// It has the relay's session that outlives this process.
    is_main: bool,
    /// Addresses that came to nothing after they had taken a connection, the
    /// latest last.
    last: VecDeque<SocketAddr>,
    pub(super) log: RegistrationLog,
    outages: OutageLog,
}

impl Supervisor {
    pub(super) fn new(context: &Rc<Context>, endpoint: Endpoint, post: Rc<Post>) -> Self {
        let plan = context.plan();
        let now = Instant::now();
        Self {
            context: Rc::clone(context),
            endpoint,
            post,
            care: Cell::new(Care::new(now, plan.caps())),
            keepalive: keepalive(now, &plan),
            opening: OpeningChoice::new(plan.has_names()),
            plan,
            session_id: None,
            is_main: false,
            last: VecDeque::new(),
            log: RegistrationLog::default(),
            outages: OutageLog::default(),
        }
    }

    /// The main tunnel to its relay takes the place of the one that a process
    /// before this one had.
    pub(super) fn main(mut self) -> Self {
        let relay = self.endpoint.to_string();
        self.session_id = self.context.state.borrow().session(&relay).map(str::to_owned);
        self.is_main = true;
        self
    }

    /// It takes the place of the main tunnel, when it flies.
    pub(super) fn successor(mut self) -> Self {
        self.is_main = true;
        self
    }

    /// Another configuration holds from this try on.
    fn follow(&mut self, plan: &Rc<Plan>) {
        let (old, new) = (&self.plan.settings, &plan.settings);
        if old.security != new.security {
            self.opening = OpeningChoice::new(plan.has_names());
        }
        let keepalive_of =
            |settings: &Settings| (settings.keepalive_seconds, settings.adapts_keepalive);
        if keepalive_of(old) != keepalive_of(new) {
            self.keepalive = keepalive(Instant::now(), plan);
        }
        self.with_care(|care| care.set_caps(plan.caps()));
        self.plan = Rc::clone(plan);
    }

    /// The relay has refused these kites a moment ago.
    pub(super) fn after_refusal(self) -> Self {
        self.with_care(|care| care.failed(Instant::now(), Failure::Refused, random_number()));
        self
    }

    /// Ends when it is told to leave.
    pub(super) async fn run(mut self) {
        while !self.post.is_leaving() {
            let now = Instant::now();
            match self.care.get().next(now) {
                Next::Wait(until) => {
                    before(until, self.post.wait()).await;
                    if let Some(change) = self.post.take_change() {
                        self.with_care(|care| care.change(Instant::now(), change));
                    }
                }
                // Between tries, nothing is under way.
                Next::Try | Next::Busy => self.attempt().await,
            }
        }
        let ended = Report { has_ended: true, ..Report::default() };
        self.post.tell_back(|report| *report = ended);
    }

    /// One try: from the connection to the end of the tunnel.
    async fn attempt(&mut self) {
        self.with_care(|care| care.begins(Instant::now()));
        let plan = self.context.plan();
        if !Rc::ptr_eq(&plan, &self.plan) {
            self.follow(&plan);
        }
        let kites = plan.offered(&self.post.begins());
        if kites.is_empty() {
            self.post.leave();
            return;
        }
        let mut registration = Registration::new(kites, true, &mut fill_random);
        let (post, care) = (Rc::clone(&self.post), self.care.get());
        let care = Cell::new(care);
        let outdated = async {
            wait_until_outdated(&post, &care).await;
            Err(Outage::Outdated)
        };
        let register = self.register(&plan, &mut registration);
        let outcome = future::or(register, outdated).await;
        self.care.set(care.get());
        let outage = match outcome {
            Ok(registered) => self.fly(&plan, registration, registered).await,
            Err(outage) => {
                self.keepalive.failed();
                Some(outage)
            }
        };
        let is_failure = !matches!(outage, None | Some(Outage::Outdated));
        self.post.tell_back(|report| {
            report.failures += u32::from(is_failure);
            report.flying.clear();
            report.address = None;
            report.has_moved = false;
        });
        let now = Instant::now();
        match outage {
            None => self.with_care(|care| care.renewed(now)),
            Some(Outage::Outdated) => {
                self.with_care(|care| care.failed(now, Failure::Network, random_number()));
                debug!("relay {}: {}", self.endpoint.relay, Outage::Outdated);
            }
            Some(outage) => {
                let failure = outage.failure();
                let wait = self.with_care(|care| match outage {
                    Outage::Ended(..) => care.ended(now, failure, random_number()),
                    _ => care.failed(now, failure, random_number()),
                });
                self.log_outage(&outage, wait);
            }
        }
    }

    /// Connects and sends the head, a second time when the relay wants its
    /// challenge answered on a new connection.
    async fn register(
        &mut self,
        plan: &Plan,
        registration: &mut Registration,
    ) -> Result<Registered, Outage> {
        for _ in 0..MAX_CONNECTIONS {
            let connection = self.open(plan).await.map_err(Outage::Open)?;
            let address = connection.peer_addr().ok();
            let request = registration.request(self.session_id.as_deref(), &mut fill_random);
            let handshake = exchange(&connection, &request);
            let answered =
                before(Instant::now() + HANDSHAKE_TIME, handshake).await.ok_or(Outage::Timeout);
            let (answer, rest) = match answered.and_then(|answered| answered) {
                Ok(answered) => answered,
                Err(outage) => {
                    self.came_to_nothing(address);
                    return Err(outage);
                }
            };
            let step = registration.apply(&answer);
            match step {
                Step::Fly | Step::AnswerHere => {
                    return Ok(Registered { connection, answer, rest, step });
                }
                Step::Reconnect => {}
                // After a head there is nothing to wait for.
                Step::Wait | Step::Refused => {
                    let status = answer.status.filter(|_| answer.results.is_empty());
                    if let Some(status) = status {
                        self.came_to_nothing(address);
                        return Err(Outage::Status(status));
                    }
                    self.log.kites(&self.endpoint.relay, registration, true);
                    self.tell_refused(registration);
                    return Err(Outage::Refused(failure_of(registration)));
                }
            }
        }
        Err(Outage::Refused(Failure::Refused))
    }

    /// Opens a connection the way that worked last; when the relay turns that
    /// away, once the other way.
    async fn open(&mut self, plan: &Plan) -> Result<Connection, OpenError> {
        let relay = &self.endpoint.relay;
        let remembered = self.context.state.borrow().addresses(&relay.to_string()).to_vec();
        let remembered = remembered.into_iter().map(|ip| SocketAddr::new(ip, relay.port));
        let addresses = Addresses {
            remembered: remembered.collect(),
            only: self.endpoint.address,
            last: self.last.iter().copied().collect(),
            waits_for_lookup: self.care.get().tries() % 2 == 0,
            reached: Cell::default(),
        };
        let (connector, before) = (&plan.connector, self.opening);
        let opened = connector.open_at(relay, &addresses, self.opening.opening()).await;
        let first = match opened {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        // Inside a WebSocket, there is one way only.
        if plan.settings.websocket || !self.opening.failed(&first.failure) {
            self.came_to_nothing(addresses.reached.get());
            return Err(first);
        }
        debug!("{first}; trying the other way");
        let opened = connector.open_at(relay, &addresses, self.opening.opening()).await;
        opened.map_err(|second| {
            if matches!(second.failure, OpenFailure::NotTls { .. }) {
                // The other way is none, and the first says more of what is
                // wrong.
                self.opening = before;
            } else {
                self.opening.failed(&second.failure);
            }
            self.came_to_nothing(addresses.reached.get());
            first
        })
    }

    /// Another address of the relay, if there is one, goes first next time.
    fn came_to_nothing(&mut self, address: Option<SocketAddr>) {
        let Some(address) = address else { return };
        self.last.retain(|last| *last != address);
        if self.last.len() >= MAX_LAST {
            self.last.pop_front();
        }
        self.last.push_back(address);
    }

    /// The next process that flies these kites can take this tunnel's place.
    pub(super) fn remember_session(&self) {
        if self.is_main {
            let relay = self.endpoint.to_string();
            let id = self.session_id.as_deref();
            self.context.state.borrow_mut().remember_session(&relay, id);
        }
    }

    /// The relay's certificate is valid now, so the clock is right enough.
    pub(super) fn remember_time(&self, now: Instant) {
        // With a pin, nobody looks at the dates.
        let is_checked = match &self.context.plan().settings.security {
            Security::Tls(tls) => tls.names.iter().all(|name| name.pin.is_none()),
            Security::Plain => false,
        };
        if is_checked && clock_is_set() {
            let seconds = CERTIFICATE_CLOCK.system_seconds();
            self.context.state.borrow_mut().remember_time(seconds, now);
            CERTIFICATE_CLOCK.set_floor(seconds);
        }
    }

    /// The relay is good: what was held against its addresses is forgotten.
    pub(super) fn is_well(&mut self) {
        self.last.clear();
        if let Some(line) = self.outages.is_back(Instant::now()) {
            info!("relay {}: {line}", self.endpoint.relay);
        }
    }

    /// Tells which kites the relay has refused.
    pub(super) fn tell_refused(&self, registration: &Registration) {
        let refused = registration
            .kites()
            .filter(|(_, state)| matches!(state, KiteState::Refused(_) | KiteState::Duplicate));
        let refused: Vec<_> = refused.map(|(id, _)| id.clone()).collect();
        self.post.tell_back(|report| report.refused = refused);
    }

    pub(super) fn with_care<T>(&self, change: impl FnOnce(&mut Care) -> T) -> T {
        let mut care = self.care.get();
        let result = change(&mut care);
        self.care.set(care);
        result
    }

    /// Tells about an outage, unless it was told.
    fn log_outage(&mut self, outage: &Outage, wait: Duration) {
        let text = match outage {
            Outage::Open(error) => error.to_string(),
            other => format!("relay {}: {other}", self.endpoint.relay),
        };
        let clock = Civil::now().to_string();
        if let Some(line) = self.outages.failed(Instant::now(), &clock, &text, wait) {
            warn!("{line}");
        }
    }
}

/// Waits until a try that is under way had better begin anew, or the supervisor
/// is to leave.
async fn wait_until_outdated(post: &Post, care: &Cell<Care>) {
    let mut again_at = None;
    loop {
        match again_at {
            Some(at) => {
                before(at, post.wait()).await;
                if Instant::now() >= at {
                    return;
                }
            }
            None => post.wait().await,
        }
        if post.is_leaving() {
            return;
        }
        let new_kites = post.has_new_kites().then_some(Change::Asked);
        if let Some(change) = post.take_change().or(new_kites) {
            let mut told = care.get();
            again_at = told.change(Instant::now(), change).or(again_at);
            care.set(told);
        }
    }
}

fn keepalive(now: Instant, plan: &Plan) -> Keepalive {
    let seconds = plan.settings.keepalive_seconds.into();
    Keepalive::new(now, Duration::from_secs(seconds), plan.settings.adapts_keepalive)
}

/// How long to stay away, now that no kite flies.
pub(super) fn failure_of(registration: &Registration) -> Failure {
    let all_are_duplicates = registration.kites().all(|(_, state)| *state == KiteState::Duplicate);
    if all_are_duplicates { Failure::Duplicate } else { Failure::Refused }
}

pub(super) fn fill_random(bytes: &mut [u8]) {
    // getrandom(2) fails on kernels before 3.17 only, where `ring` reads
    // /dev/urandom; without either, signatures would repeat but stay valid.
    let _ = SystemRandom::new().fill(bytes);
}

pub(super) fn random_number() -> u32 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    u32::from_ne_bytes(bytes)
}
