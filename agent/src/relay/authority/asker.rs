//! Puts the questions about kites to whoever has to be asked: so many at a
//! time, so many in line, and no longer than an agent waits.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::failure::Failure;
use super::lookup::lookup;
use super::name_servers::{NameServers, RESOLV_CONF};
use super::question::is_askable;
use super::{Ruling, UNAUTHORIZED, choose, program, question_name, verdict};
use crate::config::{Authority, AuthorityMeans, RelaySettings};
use crate::net::before;
use crate::wire::KiteRequest;

/// Questions in line for one of the `auththreads` places. After a restart of
/// the relay all agents come at once; the next one is told to come again.
pub const MAX_WAITING: usize = 256;

/// How often at most the log says why a question had no answer. Anybody can
/// ask, as often as the limits of handshakes allow.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// How long is waited for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a place among the questions.
    pub place: Duration,
    /// For one packet of a name server.
    pub name_server: Duration,
    /// For all name servers together.
    pub lookup: Duration,
    /// For the end of a program.
    pub program: Duration,
}

impl Default for Patience {
    /// An agent waits 30 s for its answer (`protocol.md` 16); waiting in line
    /// (as long as the reference) and the question stay well below that.
    fn default() -> Self {
        Self {
            place: Duration::from_secs(10),
            name_server: Duration::from_secs(2),
            lookup: Duration::from_secs(10),
            program: Duration::from_secs(5),
        }
    }
}

/// Asks authorities. For one thread; questions run beside each other.
///
/// A question that is dropped is over: its socket is closed and its program
/// killed.
#[derive(Debug)]
pub struct Asker {
    authorities: Vec<Authority>,
    name_servers: NameServers,
    places: Arc<Semaphore>,
    waiting: Cell<usize>,
    patience: Patience,
    last_complaint: Cell<Option<Instant>>,
    complaints: Cell<u32>,
}

impl Asker {
    /// An asker for these settings. Reads `/etc/resolv.conf`, so it is to be
    /// made before the process is locked into a folder.
    pub fn from_settings(settings: &RelaySettings) -> Self {
        Self::new(
            settings.authorities.clone(),
            settings.max_questions,
            settings.name_server,
            Patience::default(),
        )
    }

    /// An asker with all it needs: `max_questions` at the same time, and
    /// without a `name_server` those of the machine.
    pub fn new(
        authorities: Vec<Authority>,
        max_questions: usize,
        name_server: Option<SocketAddr>,
        patience: Patience,
    ) -> Self {
        Self {
            authorities,
            name_servers: NameServers::new(name_server, Path::new(RESOLV_CONF)),
            places: Arc::new(Semaphore::new(max_questions.max(1))),
            waiting: Cell::new(0),
            patience,
            last_complaint: Cell::new(None),
            complaints: Cell::new(0),
        }
    }

    /// Whether somebody can be asked about kites of this domain, which is in
    /// lower case.
    pub fn covers(&self, domain: &str) -> bool {
        choose(&self.authorities, domain).is_some()
    }

    /// Asks whether this kite may fly. The challenge in the request is ours
    /// and valid: that was checked before.
    ///
    /// `unix_seconds` is the time of the handshake, also when the kite is
    /// asked about again later: a signature may carry a time stamp, which ends
    /// to be valid after 10 to 20 minutes.
    ///
    /// Refused as `unauthorized` when nobody is to be asked, or when the
    /// request cannot be put as a question.
    pub async fn ask(&self, request: &KiteRequest, unix_seconds: u64) -> Ruling {
        let unauthorized = || Ruling::refused(UNAUTHORIZED);
        let Some(authority) = choose(&self.authorities, request.id.domain()) else {
            return unauthorized();
        };
        if !is_askable(&request.id) {
            return unauthorized();
        }
        let outcome = match &authority.means {
            AuthorityMeans::Dns(suffix) => match question_name(request, suffix) {
                Some(name) => self.ask_dns(&name).await,
                None => return unauthorized(),
            },
            AuthorityMeans::Program { path, arguments } => {
                self.ask_program(path, arguments, request, unix_seconds).await
            }
        };
        outcome.unwrap_or_else(|failure| {
            self.complain(request, &failure);
            Ruling::NoAnswer
        })
    }

    async fn ask_dns(&self, name: &str) -> Result<Ruling, Failure> {
        let _place = self.place().await?;
        lookup(&self.name_servers.current(), name, &self.patience).await
    }

    async fn ask_program(
        &self,
        path: &Path,
        arguments: &[String],
        request: &KiteRequest,
        unix_seconds: u64,
    ) -> Result<Ruling, Failure> {
        let place = self.place().await?;
        let domain = request.id.domain();
        let output = program::run(path, arguments, domain, self.patience.program, place).await?;
        verdict::rule(&output, request, unix_seconds)
    }

    /// Waits in line for a place.
    async fn place(&self) -> Result<SemaphoreGuardArc, Failure> {
        if let Some(place) = self.places.try_acquire_arc() {
            return Ok(place);
        }
        let waiting = self.waiting.get();
        if waiting >= MAX_WAITING {
            return Err(Failure::Crowded(waiting));
        }
        self.waiting.set(waiting + 1);
        let _in_line = InLine(&self.waiting);
        before(Instant::now() + self.patience.place, self.places.acquire_arc())
            .await
            .ok_or(Failure::Waited)
    }

    /// Says why there is no answer, unless it was said just now.
    fn complain(&self, request: &KiteRequest, failure: &Failure) {
        let now = Instant::now();
        let is_soon = |last: Instant| now.saturating_duration_since(last) < COMPLAINT_PAUSE;
        if self.last_complaint.get().is_some_and(is_soon) {
            self.complaints.set(self.complaints.get().saturating_add(1));
            return;
        }
        self.last_complaint.set(Some(now));
        let id = &request.id;
        match self.complaints.take() {
            0 => warn!("cannot ask whether {id} may fly: {failure}"),
            others => {
                warn!(
                    "cannot ask whether {id} may fly: {failure} (and {others} others since the last line)"
                );
            }
        }
    }
}

/// Leaves the line when it is dropped.
struct InLine<'a>(&'a Cell<usize>);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
