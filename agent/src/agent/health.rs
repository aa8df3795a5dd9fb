//! Health checks of services (`healthcheck`): a kite whose service fails them
//! is closed to new visitors, who get the page "unavailable" at once, and
//! opens again when the service is well. The name cannot be withdrawn from a
//! live tunnel (`protocol.md` 3.4).

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::{info, warn};
use smol::{LocalExecutor, Task};

use crate::config::{HealthCheck, KiteSettings, Origin};
use crate::net::{ServiceSocket, Socket as _, before, dial_service};

/// Pause between two checks of a service that is well.
const INTERVAL: Duration = Duration::from_secs(30);
/// Pause after a failure; it grows with each further one.
const DOUBT_INTERVAL: Duration = Duration::from_secs(5);
/// Failures in a row that close a kite; one may be chance.
const FAILURES: u32 = 2;
/// Time for one check.
const CHECK_TIME: Duration = Duration::from_secs(3);
/// Bytes of an answer that are looked at: `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// One service: a pure machine that is told what checks say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    failures: u32,
}

impl Health {
    /// Whether visitors are let in.
    pub fn is_open(self) -> bool {
        self.failures < FAILURES
    }

    /// Notes a check; true when the service opens or closes by it.
    pub fn checked(&mut self, is_well: bool) -> bool {
        let was_open = self.is_open();
        self.failures = if is_well { 0 } else { self.failures.saturating_add(1) };
        self.is_open() != was_open
    }

    /// How long to wait for the next check.
    pub fn pause(self) -> Duration {
        match self.failures {
            0 => INTERVAL,
            failures => DOUBT_INTERVAL.saturating_mul(failures).min(INTERVAL),
        }
    }
}

/// The checks of all services; they end with it.
#[derive(Default)]
pub(super) struct HealthChecks {
    known: ServiceHealth,
    /// They end with this.
    tasks: Vec<Task<()>>,
}

/// What checks say of services. It may outlive the checks: streams keep it.
#[derive(Clone, Default)]
pub(super) struct ServiceHealth {
    services: Vec<Service>,
}

#[derive(Clone)]
struct Service {
    origin: Origin,
    check: HealthCheck,
    health: Rc<Cell<Health>>,
}

impl HealthChecks {
    /// Starts the checks that `kites` ask for, each once for all kites of a
    /// service. What `before` knows of a service holds on.
    pub(super) fn start(
        executor: &'static LocalExecutor<'static>,
        kites: &[KiteSettings],
        before: &ServiceHealth,
    ) -> Self {
        let mut checks = Self::default();
        for kite in kites {
            let Some(check) = &kite.flags.health_check else { continue };
            if checks.known.find(&kite.origin, check).is_some() {
                continue;
            }
            let known = before.find(&kite.origin, check).map(|health| health.get());
            let health = Rc::new(Cell::new(known.unwrap_or_default()));
            let (origin, check) = (kite.origin.clone(), check.clone());
            let watch = watch(origin.clone(), check.clone(), Rc::clone(&health));
            checks.tasks.push(executor.spawn(watch));
            checks.known.services.push(Service { origin, check, health });
        }
        checks
    }

    /// What they say.
    pub(super) fn known(&self) -> ServiceHealth {
        self.known.clone()
    }
}

impl ServiceHealth {
    /// Whether visitors of this kite are let in.
    pub(super) fn is_open(&self, kite: &KiteSettings) -> bool {
        let check = kite.flags.health_check.as_ref();
        let health = check.and_then(|check| self.find(&kite.origin, check));
        health.is_none_or(|health| health.get().is_open())
    }

    fn find(&self, origin: &Origin, check: &HealthCheck) -> Option<&Rc<Cell<Health>>> {
        let mut services = self.services.iter();
        let found = services.find(|known| known.origin == *origin && known.check == *check);
        found.map(|known| &known.health)
    }
}

/// Checks one service for ever.
async fn watch(origin: Origin, check: HealthCheck, health: Rc<Cell<Health>>) {
    loop {
        let result = before(Instant::now() + CHECK_TIME, examine(&origin, &check)).await;
        let result = result.unwrap_or_else(|| Err("no answer in three seconds".to_owned()));
        let mut known = health.get();
        if known.checked(result.is_ok()) {
            match result {
                Ok(()) => info!("service {origin} is well again: visitors are let in"),
                Err(why) => warn!("service {origin} fails its health check, no visitors: {why}"),
            }
        }
        health.set(known);
        Timer::after(known.pause()).await;
    }
}

async fn examine(origin: &Origin, check: &HealthCheck) -> Result<(), String> {
    let socket = dial_service(origin, Instant::now() + CHECK_TIME).await;
    let socket = socket.map_err(|error| error.to_string())?;
    let HealthCheck::Http(path) = check else { return Ok(()) };
    let host = match origin {
        Origin::Tcp { .. } => origin.to_string(),
        Origin::Unix(_) => "localhost".to_owned(),
    };
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let status = ask(&socket, request.as_bytes()).await.map_err(|error| error.to_string())?;
    match status.get(9..).map(|code| code.first()) {
        Some(Some(b'2' | b'3')) if status.starts_with(b"HTTP/1.") => Ok(()),
        _ if status.is_empty() => Err(format!("no answer to {path}")),
        // What a service sends must not look like more of the line.
        _ => Err(format!("the answer to {path} is {:?}", String::from_utf8_lossy(&status))),
    }
}

/// Sends the request and reads the begin of the answer.
async fn ask(socket: &ServiceSocket, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut left = request;
    while !left.is_empty() {
        match socket.try_write(left) {
            Ok(taken) => left = left.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    let mut answer = Vec::new();
    let mut buffer = [0; STATUS_BYTES];
    while answer.len() < STATUS_BYTES {
        let room = STATUS_BYTES - answer.len();
        match socket.try_read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failures_close_and_one_success_opens() {
        let mut health = Health::default();
        assert!(health.is_open() && !health.checked(true));
        assert_eq!(health.pause(), INTERVAL);
        assert!(!health.checked(false), "one may be chance");
        assert_eq!(health.pause(), DOUBT_INTERVAL);
        assert!(health.checked(false) && !health.is_open());
        for _ in 0..9 {
            assert!(!health.checked(false));
        }
        assert_eq!(health.pause(), INTERVAL, "who is away for long is asked rarely");
        assert!(health.checked(true) && health.is_open());
    }
}
