//! The relay as a program: starts, serves, reads its configuration again, and
//! stops.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use async_io::{Async, Timer};
use log::{info, warn};
use smol::{LocalExecutor, Task, future};

use super::access_log::AccessLog;
use super::active::Active;
use super::certificates::Certificates;
use super::guest::{Guest, TOO_MANY, most_callers};
use super::listener::{BindError, Purpose, accept, bind, purposes};
use super::reception::receive;
use super::shared::{Relay, inside};
use super::stop::stop;
use crate::config::{Host, RelaySettings, RelaySources};
use crate::net::Acceptor;
use crate::system::limits;
use crate::system::signals::{Order, Orders};

/// How often files are looked at: a line in the kites file holds two seconds
/// later, and a look costs as much as a few packets.
const WATCH_TIME: Duration = Duration::from_secs(2);

/// Runs a relay until SIGTERM or SIGINT. At SIGHUP the `sources` are read
/// again.
///
/// # Errors
/// Something in `settings`, in the files that it names, or on this machine is in
/// the way.
pub fn run(settings: RelaySettings, sources: RelaySources) -> Result<(), StartError> {
    let service = Service::prepare(settings, sources)?;
    async_io::block_on(service.executor.run(service.serve()))
}

/// A relay inside of another program.
pub(crate) struct Embedded(Service);

/// What a running relay is doing.
pub(crate) struct Doings {
    pub(crate) tunnels: usize,
    pub(crate) kites: Vec<String>,
    pub(crate) streams: usize,
    pub(crate) visits: u64,
    /// Bytes of visitors to kites, and of kites to visitors.
    pub(crate) traffic: (u64, u64),
}

impl Embedded {
    /// Starts a relay on these ports, which belong to the addresses and ports
    /// of `settings` in their order, with one certificate.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn start(
        executor: &'static LocalExecutor<'static>,
        settings: RelaySettings,
        certificate: (&str, Acceptor),
        listeners: Vec<TcpListener>,
    ) -> Result<Self, StartError> {
        let certificates = Certificates::of(certificate.0, certificate.1);
        Service::embedded(executor, settings, certificates, listeners).map(Self)
    }

    /// What it is doing now.
    pub(crate) fn doings(&self) -> Doings {
        let relay = &self.0.relay;
        let tunnels = relay.tunnels.borrow();
        Doings {
            tunnels: tunnels.len(),
            kites: relay.flights.borrow().iter().map(|(kite, _)| kite.to_string()).collect(),
            streams: tunnels.values().map(|agent| agent.streams.get()).sum(),
            visits: relay.visits.get(),
            traffic: relay.traffic.get(),
        }
    }
}

/// A relay and its listening ports.
struct Service {
    executor: &'static LocalExecutor<'static>,
    relay: Rc<Relay>,
    ports: RefCell<Vec<Port>>,
    sources: RelaySources,
}

/// A port that is listened on.
struct Port {
    purpose: Purpose,
    _task: Task<()>,
}

impl Service {
    /// Everything that needs the rights of the user who starts the relay.
    fn prepare(settings: RelaySettings, sources: RelaySources) -> Result<Self, StartError> {
        let executor: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
        let settings = within_limits(settings, limits::raise_open_files());
        let wanted = purposes(&settings);
        let listeners: Vec<TcpListener> = wanted
            .iter()
            .map(|purpose| bind(purpose.address))
            .collect::<Result<_, _>>()
            .map_err(StartError::Bind)?;
        let active =
            Active::new(settings, &Host).map_err(|error| StartError::Files(error.to_string()))?;
        drop_privileges(&active.settings)?;
        let settings = locked_in(active.settings.clone());
        let log = AccessLog::open(settings.access_log.clone()).map_err(StartError::AccessLog)?;
        let relay = Relay::new(executor, active.with(settings), log);
        Self::on_ports(executor, relay, sources, wanted.into_iter().zip(listeners))
    }

    /// A relay inside of another program, which has bound its ports.
    fn embedded(
        executor: &'static LocalExecutor<'static>,
        settings: RelaySettings,
        certificates: Certificates,
        listeners: Vec<TcpListener>,
    ) -> Result<Self, StartError> {
        let wanted = purposes(&settings);
        let active = Active::with_certificates(settings, certificates, &Host);
        let active = active.map_err(|error| StartError::Files(error.to_string()))?;
        let log = AccessLog::open(None).map_err(StartError::AccessLog)?;
        let relay = Relay::new(executor, active, log);
        let sources = RelaySources(Vec::new());
        Self::on_ports(executor, relay, sources, wanted.into_iter().zip(listeners))
    }

    fn on_ports(
        executor: &'static LocalExecutor<'static>,
        relay: Rc<Relay>,
        sources: RelaySources,
        ports: impl Iterator<Item = (Purpose, TcpListener)>,
    ) -> Result<Self, StartError> {
        let service = Self { executor, relay, ports: RefCell::default(), sources };
        for (purpose, listener) in ports {
            service.listen(purpose, listener).map_err(StartError::Reactor)?;
        }
        Ok(service)
    }

    async fn serve(&self) -> Result<(), StartError> {
        let mut orders = Orders::watch().map_err(StartError::Reactor)?;
        self.tell_start();
        let serve = async {
            loop {
                match orders.next().await.map_err(StartError::Reactor)? {
                    Order::Reload => self.reload(),
                    // A relay waits for nobody.
                    Order::Retry => {}
                    Order::Stop => break,
                }
            }
            let again =
                async { while matches!(orders.next().await, Ok(Order::Reload | Order::Retry)) {} };
            future::or(stop(&self.relay), again).await;
            info!("stopped by a signal");
            Ok(())
        };
        future::or(serve, self.watch_files()).await
    }

    fn tell_start(&self) {
        let active = self.relay.active();
        let ports: Vec<String> =
            self.ports.borrow().iter().map(|port| port.purpose.address.to_string()).collect();
        let tls = if active.certificates.borrow().is_empty() { ", without TLS" } else { "" };
        info!(
            "{} relay listens on {}; {}{tls}",
            crate::wire::VERSION,
            ports.join(", "),
            may_fly(&active)
        );
    }

    fn listen(&self, purpose: Purpose, listener: TcpListener) -> io::Result<()> {
        let listener = Async::new(listener)?;
        let relay = Rc::clone(&self.relay);
        let Purpose { public_port, kite, .. } = purpose.clone();
        let task = self.executor.spawn(async move {
            accept(&listener, |socket, peer| {
                let Some(guest) = Guest::let_in(&relay, peer.ip()) else {
                    if kite.is_none() {
                        // It fails when the other end is gone already.
                        let _ = io::Write::write(&mut socket.get_ref(), TOO_MANY);
                    }
                    return;
                };
                let received =
                    receive(Rc::clone(&relay), socket, peer, public_port, kite.clone(), guest);
                relay.executor.spawn(received).detach();
            })
            .await;
        });
        self.ports.borrow_mut().push(Port { purpose, _task: task });
        Ok(())
    }

    /// SIGHUP: the whole configuration, ports included. What cannot be used
    /// changes nothing.
    fn reload(&self) {
        self.relay.access_log.reopen();
        if self.relay.active().settings.chroot.is_some() {
            // The files of the configuration lie outside by now.
            return self.renew();
        }
        match self.sources.load(&Host) {
            Ok(loaded) => {
                for line in loaded.warnings.to_string().lines() {
                    warn!("{line}");
                }
                self.adopt(within_limits(loaded.settings, limits::raise_open_files()));
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    warn!("{line}");
                }
                warn!("the configuration stays as it was");
            }
        }
    }

    /// Reads the files again that the configuration names.
    fn renew(&self) {
        match self.relay.active().renewed(&Host) {
            Ok(active) => {
                info!("the files were read again; {}", may_fly(&active));
                self.relay.activate(active);
            }
            Err(error) => warn!("{error}; everything stays as it was"),
        }
    }

    fn adopt(&self, settings: RelaySettings) {
        let wanted = purposes(&settings);
        match Active::new(settings, &Host) {
            Ok(active) => {
                self.move_to(wanted);
                // The log itself was opened anew already.
                if active.settings.access_log != self.relay.active().settings.access_log {
                    self.relay.access_log.change(active.settings.access_log.clone());
                }
                let told = may_fly(&active);
                self.relay.activate(active);
                info!("the configuration was read again; {told}");
            }
            Err(error) => warn!("{error}; the configuration stays as it was"),
        }
    }

    /// Listens on what is new and no longer on what is gone; connections live
    /// on.
    fn move_to(&self, wanted: Vec<Purpose>) {
        self.ports.borrow_mut().retain(|port| wanted.contains(&port.purpose));
        for purpose in wanted {
            if self.ports.borrow().iter().any(|port| port.purpose == purpose) {
                continue;
            }
            let listening =
                bind(purpose.address).map_err(|error| error.to_string()).and_then(|listener| {
                    self.listen(purpose, listener).map_err(|error| error.to_string())
                });
            if let Err(error) = listening {
                warn!("{error}");
            }
        }
    }

    /// Reads files again whose time or length has changed.
    async fn watch_files(&self) -> Result<(), StartError> {
        let mut seen = self.look_at_files();
        loop {
            Timer::after(WATCH_TIME).await;
            self.relay.active().certificates.borrow_mut().refresh();
            let now = self.look_at_files();
            if now != seen {
                seen = now;
                self.renew();
            }
        }
    }

    fn look_at_files(&self) -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
        let look = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let files = self.relay.active().files();
        files.into_iter().map(|path| (path.clone(), look(&path))).collect()
    }
}

/// How many kites the relay's own lines let fly.
fn may_fly(active: &Active) -> String {
    match active.grants.len() {
        1 => "1 kite may fly".to_owned(),
        count => format!("{count} kites may fly"),
    }
}

/// Takes back what the limit on open files leaves no room for. A visitor and a
/// tunnel have one each.
fn within_limits(mut settings: RelaySettings, files: usize) -> RelaySettings {
    let limits = &mut settings.limits;
    let wanted = most_callers(limits) + limits.max_tunnels;
    if wanted > files {
        let part = |limit: usize| (limit * files / wanted).max(1);
        (limits.max_visitors, limits.max_tunnels) =
            (part(limits.max_visitors), part(limits.max_tunnels));
        warn!(
            "the limit on open files is {files}: there is room for {} visitors and {} tunnels \
             (raise it: ulimit -n, or LimitNOFILE= of systemd)",
            limits.max_visitors, limits.max_tunnels
        );
    }
    settings
}

/// Becomes the user of `runas` and goes into the folder of `chroot`.
fn drop_privileges(settings: &RelaySettings) -> Result<(), StartError> {
    let RelaySettings { run_as, chroot, .. } = settings;
    if run_as.is_none() && chroot.is_none() {
        return Ok(());
    }
    let mut drop = privdrop::PrivDrop::default();
    if let Some(folder) = chroot {
        drop = drop.chroot(folder);
    }
    if let Some(user) = run_as {
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (user.as_str(), None),
        };
        drop = drop.user(user);
        if let Some(group) = group {
            drop = drop.group(group);
        }
    }
    drop.apply().map_err(|error| StartError::Privileges(error.to_string()))
}

/// The paths as they are inside of `chroot`.
fn locked_in(mut settings: RelaySettings) -> RelaySettings {
    let Some(root) = settings.chroot.clone() else { return settings };
    let mut outside = Vec::new();
    let mut map = |path: &mut PathBuf| match inside(Some(&root), path) {
        Some(inner) => *path = inner,
        None => outside.push(path.display().to_string()),
    };
    let certificates = settings.certificates.iter_mut().map(|certificate| &mut certificate.path);
    certificates.for_each(&mut map);
    [&mut settings.kites_file, &mut settings.error_page, &mut settings.motd]
        .into_iter()
        .chain([&mut settings.acme_webroot])
        .flatten()
        .for_each(&mut map);
    settings.access_log.iter_mut().filter_map(|log| log.path.as_mut()).for_each(&mut map);
    if !outside.is_empty() {
        warn!("outside of {}, so not read again: {}", root.display(), outside.join(", "));
    }
    settings
}

/// Why a relay does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be listened on.
    Bind(BindError),
    /// A file of the configuration cannot be used; in words.
    Files(String),
    /// The access log cannot be written.
    AccessLog(io::Error),
    /// The user or the folder cannot be changed to; in words.
    Privileges(String),
    /// The kernel refuses what every program needs.
    Reactor(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(formatter),
            Self::Files(text) => formatter.write_str(text),
            Self::AccessLog(error) => write!(formatter, "access_log cannot be written: {error}"),
            Self::Privileges(text) => {
                write!(formatter, "runas and chroot need root and a user that exists: {text}")
            }
            Self::Reactor(error) => write!(formatter, "the kernel refuses: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
