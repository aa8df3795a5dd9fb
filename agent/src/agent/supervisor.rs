//! Keeps a tunnel to one relay: connects, registers the kites, runs the
//! tunnel, and begins again for ever.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::{debug, warn};
use ring::rand::{SecureRandom, SystemRandom};
use smol::{LocalExecutor, future};

use super::backoff::{Backoff, Failure};
use super::registration_log::RegistrationLog;
use super::streams::Streams;
use super::visitors::Visitors;
use crate::config::{RelayAddress, Security, Settings};
use crate::net::{Connection, Connector, OpenError, OpenFailure, OpeningChoice, before};
use crate::tunnel::{Buffers, News, Notify, Tunnel, TunnelEnd};
use crate::wire::{
    Answer, HeadReader, Heartbeat, KiteState, MAX_ANSWER_BYTES, MAX_BODY_BYTES, Registration, Role,
    Session, SessionSettings, Step, WireError,
};

/// Time that a relay has to answer the head of the handshake. The reference
/// takes a second when it is idle, and longer when its authentication is slow.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// Time that a relay has to accept the answer to its challenge; it gives an
/// agent that does not answer 60 seconds itself (`protocol.md` 10).
const CHALLENGE_TIME: Duration = Duration::from_secs(60);

/// Connections of one handshake: one to be challenged on and one to answer on,
/// and one more for a challenge that ran out meanwhile.
const MAX_CONNECTIONS: u32 = 3;

/// What all relays of an agent share.
pub(super) struct Context {
    pub(super) executor: &'static LocalExecutor<'static>,
    pub(super) settings: Settings,
    pub(super) connector: Connector,
    pub(super) visitors: Rc<Visitors>,
    pub(super) buffers: Rc<Buffers>,
}

/// One relay.
pub(super) struct Supervisor {
    context: Rc<Context>,
    relay: RelayAddress,
    opening: OpeningChoice,
    /// The id by which the relay knows our last tunnel, to take its place.
    session_id: Option<String>,
    backoff: Backoff,
    log: RegistrationLog,
    /// The last line that was logged about a failure, and how often.
    repeated: Option<(String, u32)>,
}

/// Why there is no tunnel now.
enum Outage {
    Open(OpenError),
    Lost(io::Error),
    Closed,
    Timeout,
    Protocol(WireError),
    /// The relay turned the whole request away.
    Status(u16),
    /// The relay took none of the kites.
    Refused(Failure),
    /// The tunnel flew for this long.
    Ended(TunnelEnd, Duration),
}

impl Supervisor {
    pub(super) fn new(context: Rc<Context>, relay: RelayAddress) -> Self {
        let has_names = match &context.settings.security {
            Security::Tls(tls) => !tls.names.is_empty(),
            Security::Plain => false,
        };
        Self {
            context,
            relay,
            opening: OpeningChoice::new(has_names),
            session_id: None,
            backoff: Backoff::default(),
            log: RegistrationLog::default(),
            repeated: None,
        }
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        loop {
            let outage = self.fly().await;
            let failure = match &outage {
                Outage::Refused(failure) => *failure,
                Outage::Status(_) => Failure::Refused,
                Outage::Ended(_, lived) => {
                    self.backoff.tunnel_ended(*lived);
                    Failure::Network
                }
                _ => Failure::Network,
            };
            let wait = self.backoff.wait(Instant::now(), failure, random_number());
            self.log_outage(&outage, wait);
            Timer::after(wait).await;
        }
    }

    /// One try: from the connection to the end of the tunnel.
    async fn fly(&mut self) -> Outage {
        let kites = &self.context.settings.kites;
        let offered = kites.iter().map(|kite| (kite.id.clone(), kite.secret.clone()));
        let mut registration = Registration::new(offered, true, &mut fill_random);
        match self.register(&mut registration).await {
            Ok(registered) => self.run_tunnel(registration, registered).await,
            Err(outage) => outage,
        }
    }

    /// Connects and sends the head, a second time when the relay wants its
    /// challenge answered on a new connection.
    async fn register(&mut self, registration: &mut Registration) -> Result<Registered, Outage> {
        for _ in 0..MAX_CONNECTIONS {
            let connection = self.open().await.map_err(Outage::Open)?;
            let request = registration.request(self.session_id.as_deref(), &mut fill_random);
            let handshake = exchange(&connection, &request);
            let (answer, rest) = before(Instant::now() + HANDSHAKE_TIME, handshake)
                .await
                .ok_or(Outage::Timeout)??;
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
                        return Err(Outage::Status(status));
                    }
                    self.log.kites(&self.relay, registration, true);
                    return Err(Outage::Refused(failure_of(registration)));
                }
            }
        }
        Err(Outage::Refused(Failure::Refused))
    }

    /// Opens a connection the way that worked last; when the relay turns that
    /// away, once the other way.
    async fn open(&mut self) -> Result<Connection, OpenError> {
        let connector = &self.context.connector;
        let before = self.opening;
        let first = match connector.open(&self.relay, self.opening.opening()).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        // Inside a WebSocket, there is one way only.
        if self.context.settings.websocket || !self.opening.failed(&first.failure) {
            return Err(first);
        }
        debug!("{first}; trying the other way");
        connector.open(&self.relay, self.opening.opening()).await.map_err(|second| {
            if matches!(second.failure, OpenFailure::NotTls { .. }) {
                // The other way is none, and the first says more of what is
                // wrong.
                self.opening = before;
            } else {
                self.opening.failed(&second.failure);
            }
            first
        })
    }

    /// The tunnel's life, from the answer to the challenge on.
    async fn run_tunnel(
        &mut self,
        mut registration: Registration,
        registered: Registered,
    ) -> Outage {
        let Registered { connection, answer, rest, step } = registered;
        let settings = &self.context.settings;
        self.session_id = registration.session_id().map(str::to_owned);
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
        let is_flying = Cell::new(step == Step::Fly);
        self.log.kites(&self.relay, &registration, false);
        self.log.quota(&self.relay, &answer.quota);
        let keepalive = Duration::from_secs(settings.keepalive_seconds.into());
        let heartbeat = Heartbeat::new(Instant::now(), keepalive, may_be_pinged(&answer));
        let tunnel = Tunnel::new(
            connection,
            session,
            Rc::clone(&self.context.buffers),
            MAX_BODY_BYTES,
            settings.buffer_kilobytes * 1024,
        );
        let began = Instant::now();
        let refused = Cell::new(None);
        let over = Notify::default();
        let mut on_news = |session: &mut Session, news: News| match news {
            News::Quota(quota) => self.log.quota(&self.relay, &quota),
            News::Answer(answer) => {
                let step = registration.apply(&answer);
                let is_final = matches!(step, Step::Reconnect | Step::Refused);
                self.log.kites(&self.relay, &registration, is_final);
                self.log.quota(&self.relay, &answer.quota);
                match step {
                    Step::Fly => {
                        is_flying.set(true);
                        refused.set(None);
                    }
                    Step::Wait => {}
                    Step::AnswerHere => {
                        session.send_payload(registration.answer_payload(&mut fill_random));
                    }
                    Step::Reconnect | Step::Refused => {
                        refused.set(Some(failure_of(&registration)));
                        over.notify();
                    }
                }
                if let Some(id) = registration.session_id() {
                    self.session_id = Some(id.to_owned());
                }
            }
            // Only agents ask for kites.
            News::Request(_) => {}
        };
        let mut streams = Streams::new(
            self.context.executor,
            Rc::clone(&self.context.visitors),
            settings.max_streams,
            &mut on_news,
        );
        let run = async { Some(tunnel.run(&rest, heartbeat, &mut streams).await) };
        let unanswered = async {
            Timer::after(CHALLENGE_TIME).await;
            if is_flying.get() {
                future::pending::<()>().await;
            }
            None
        };
        // There is nothing to wait for, and the next try may be of use soon.
        let turned_away = async {
            over.wait().await;
            None
        };
        let end = future::or(run, future::or(unanswered, turned_away)).await;
        self.log.tunnel_ended();
        match (refused.get(), end) {
            (Some(failure), _) => Outage::Refused(failure),
            (None, None) => Outage::Timeout,
            (None, Some(end)) => Outage::Ended(end, began.elapsed()),
        }
    }

    /// Tells about an outage once; the same one again is counted.
    fn log_outage(&mut self, outage: &Outage, wait: Duration) {
        let text = match outage {
            Outage::Open(error) => error.to_string(),
            other => format!("relay {}: {other}", self.relay),
        };
        match &mut self.repeated {
            Some((last, tries)) if *last == text && !matches!(outage, Outage::Ended(..)) => {
                *tries += 1;
                // One line for 2, 4, 8 ... tries says that it is still tried.
                if tries.is_power_of_two() {
                    warn!("{text} (after {tries} tries)");
                }
            }
            repeated => {
                warn!("{text}; next try in {:.0} s", wait.as_secs_f64().ceil());
                *repeated = Some((text, 1));
            }
        }
    }
}

/// A relay that answered.
struct Registered {
    connection: Connection,
    answer: Answer,
    /// What came glued to the answer.
    rest: Vec<u8>,
    step: Step,
}

/// Sends the head of the handshake and reads the relay's.
async fn exchange(connection: &Connection, request: &[u8]) -> Result<(Answer, Vec<u8>), Outage> {
    let mut left = request;
    while !left.is_empty() {
        match connection.try_write(left) {
            Ok(taken) => left = &left[taken..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.writable().await.map_err(Outage::Lost)?;
            }
            Err(error) => return Err(Outage::Lost(error)),
        }
    }
    while let Err(error) = connection.try_flush() {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(Outage::Lost(error));
        }
        connection.writable().await.map_err(Outage::Lost)?;
    }
    let mut head = HeadReader::new(MAX_ANSWER_BYTES);
    let mut buffer = vec![0; 4096];
    loop {
        match connection.try_read(&mut buffer) {
            Ok(0) => return Err(Outage::Closed),
            Ok(length) => {
                let mut input = &buffer[..length];
                if let Some(head) = head.read(&mut input).map_err(Outage::Protocol)? {
                    let answer = Answer::parse(head).map_err(Outage::Protocol)?;
                    return Ok((answer, input.to_vec()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable().await.map_err(Outage::Lost)?;
            }
            Err(error) => return Err(Outage::Lost(error)),
        }
    }
}

/// A relay that does not know the protocol `minecraft` is of the age that dies
/// of an agent's PING (`protocol.md` 18).
fn may_be_pinged(answer: &Answer) -> bool {
    answer.protocols.iter().any(|protocol| protocol.eq_ignore_ascii_case("minecraft"))
}

/// How long to stay away, now that no kite flies.
fn failure_of(registration: &Registration) -> Failure {
    let all_are_duplicates = registration.kites().all(|(_, state)| *state == KiteState::Duplicate);
    if all_are_duplicates { Failure::Duplicate } else { Failure::Refused }
}

fn fill_random(bytes: &mut [u8]) {
    // getrandom(2) fails on kernels before 3.17 only, where `ring` reads
    // /dev/urandom; without either, signatures would repeat but stay valid.
    let _ = SystemRandom::new().fill(bytes);
}

fn random_number() -> u32 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    u32::from_ne_bytes(bytes)
}

impl fmt::Display for Outage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(formatter, "{error}"),
            Self::Lost(error) => write!(formatter, "the connection was lost: {error}"),
            Self::Closed => formatter.write_str("it closed the connection instead of answering"),
            Self::Timeout => formatter.write_str("it accepted the connection and does not answer"),
            Self::Protocol(error) => write!(formatter, "it sent {error}; is it a PageKite relay?"),
            Self::Status(403) => formatter.write_str(
                "it turned this agent away (HTTP 403): this address is not let in, or too many \
                 kites from here were refused",
            ),
            Self::Status(503) => formatter.write_str("it turned this agent away (HTTP 503)"),
            Self::Status(status) => write!(
                formatter,
                "it answers like a web server (HTTP {status}), not like a PageKite relay; is the \
                 port right?"
            ),
            Self::Refused(_) => formatter.write_str("it took none of the kites"),
            Self::Ended(end, _) => formatter.write_str(&end.told_of("relay")),
        }
    }
}
