//! `kitelet demo`: a relay, an agent and two small services in one process on
//! loopback, so that the whole way of a visit can be seen on a machine that has
//! nothing installed and no name.

mod page;
mod service;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use smol::{LocalExecutor, future};

use crate::agent;
use crate::config::{
    CertificateName, Grant, KiteFlags, KiteQuota, KiteSettings, Origin, Pin, ProxySettings,
    RelayAddress, RelayLimits, RelaySettings, Security, Settings, TlsSettings,
};
use crate::net::{Acceptor, SelfSigned, TlsSetupError};
use crate::relay::{Embedded, StartError};
use crate::system::signals;
use crate::wire::{KiteId, Secret};
use service::Service;

/// The name of the kite: every machine and every browser leads it here.
const NAME: &str = "localhost";
/// Where one would look for it, if it is free.
const USUAL_PORT: u16 = 8080;
/// Kites that fly when all is well, and how often to look whether they do.
const KITES: usize = 2;
const LOOK_TIME: Duration = Duration::from_millis(10);
/// The port of the kite that speaks first.
const RAW_PORT: u16 = 22;

/// Runs until SIGINT or SIGTERM; `output` is told where to look.
///
/// # Errors
/// Something on this machine is in the way.
pub(crate) fn run(output: &mut dyn Write) -> Result<(), DemoError> {
    let executor: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
    let listeners = listen().map_err(DemoError::Listen)?;
    let addresses: Vec<SocketAddr> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()
        .map_err(DemoError::Listen)?;
    let port = addresses.first().map_or(USUAL_PORT, SocketAddr::port);
    let secret = random_secret();
    let (acceptor, pin) = certificate().map_err(DemoError::Certificate)?;
    let hosts = addresses.iter().map(SocketAddr::ip).collect();
    let settings = relay_settings(hosts, port, &secret);
    let relay = Embedded::start(executor, settings, (NAME, acceptor), listeners);
    let relay = Rc::new(relay.map_err(DemoError::Relay)?);
    let service = Service::start(executor, Rc::clone(&relay), port, Instant::now())
        .map_err(DemoError::Listen)?;
    let settings = agent_settings(port, pin, &secret, &service);
    let _flying = agent::start(executor, settings).map_err(DemoError::Agent)?;
    let serve = async {
        while relay.doings().kites.len() < KITES {
            Timer::after(LOOK_TIME).await;
        }
        tell(output, port);
        future::pending().await
    };
    let work = future::or(signals::wait_for_stop(), serve);
    async_io::block_on(executor.run(work)).map_err(DemoError::Listen)
}

/// The relay's ports: 8080 if it is free, on IPv4 and, where there is one, on
/// IPv6, since `localhost` is both.
fn listen() -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, USUAL_PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    listeners.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)));
    Ok(listeners)
}

/// A certificate of the relay's own for as long as it runs, and how the agent
/// knows it.
fn certificate() -> Result<(Acceptor, Pin), CertificateError> {
    let SelfSigned { certificate, key, pin } =
        SelfSigned::new(NAME).map_err(CertificateError::Make)?;
    let acceptor = Acceptor::from_pem(certificate.as_bytes(), key.as_bytes());
    Ok((acceptor.map_err(CertificateError::Use)?, Pin::KeySha256(pin)))
}

fn random_secret() -> Secret {
    let mut bytes = [0; 16];
    // It fails on kernels before 3.17 only; then the secret is known, to
    // whoever is on this machine.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    let mut digits = [0; 32];
    crate::wire::write_hex(&bytes, &mut digits);
    Secret::new(digits)
}

fn relay_settings(hosts: Vec<IpAddr>, port: u16, secret: &Secret) -> RelaySettings {
    let protocols = ["http", "websocket", "raw", "minecraft"].map(str::to_owned).to_vec();
    let grant = Grant {
        protocols: protocols.iter().map(|protocol| (protocol.clone(), None)).collect(),
        domain: NAME.to_owned(),
        secret: secret.clone(),
        quota: KiteQuota::default(),
    };
    RelaySettings {
        hosts,
        ports: vec![port],
        protocols,
        grants: vec![grant],
        limits: RelayLimits { max_tunnels: 8, max_kites: 8, ..RelayLimits::default() },
        reveal_kites: true,
        stop_seconds: 0,
        ..RelaySettings::default()
    }
}

fn agent_settings(port: u16, pin: Pin, secret: &Secret, service: &Service) -> Settings {
    let kite = |protocol: &str, kite_port: Option<u16>, port: u16| {
        let id = KiteId::new(protocol, kite_port, NAME).ok()?;
        let origin = Origin::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port };
        let flags = KiteFlags { insecure: true, ..KiteFlags::default() };
        Some(KiteSettings { id, secret: secret.clone(), origin, name: None, flags })
    };
    let kites =
        [kite("http", None, service.web_port()), kite("raw", Some(RAW_PORT), service.raw_port())];
    let name = CertificateName { name: NAME.to_owned(), pin: Some(pin) };
    Settings {
        relays: vec![RelayAddress { host: Ipv4Addr::LOCALHOST.to_string(), port }],
        pool: None,
        spare_relays: 0,
        never: Vec::new(),
        ignores_own_names: false,
        security: Security::Tls(TlsSettings { names: vec![name], roots: None }),
        kites: kites.into_iter().flatten().collect(),
        error_urls: Vec::new(),
        proxy: ProxySettings::default(),
        compress: false,
        websocket: false,
        keepalive_seconds: crate::config::DEFAULT_KEEPALIVE_SECONDS,
        adapts_keepalive: false,
        retry_seconds: crate::config::DEFAULT_RETRY_SECONDS,
        late_retry_seconds: crate::config::DEFAULT_LATE_RETRY_SECONDS,
        max_streams: 256,
        buffer_kilobytes: crate::config::DEFAULT_BUFFER_KILOBYTES,
        state_directory: None,
        runtime_directory: None,
    }
}

fn tell(output: &mut dyn Write, port: u16) {
    let program = std::env::current_exe()
        .map_or_else(|_| "kitelet".to_owned(), |path| path.display().to_string());
    // That nobody listens is no reason to stop.
    let _ = writeln!(
        output,
        "\nOpen     http://{NAME}:{port}/\n\n\
         Relay, agent and two services run in this one process; what you see comes\n\
         from a service through the agent, a tunnel with TLS, and the relay.\n\n\
         Or try, in another terminal:\n\n  \
         curl http://{NAME}:{port}/\n  \
         {program} connect --plain --relay {NAME}:{port} {NAME}:{RAW_PORT}\n  \
         curl http://{NAME}:{port}/status.json\n\n\
         Ctrl-C ends it.\n"
    );
    let _ = output.flush();
}

/// Why there is no demonstration.
#[derive(Debug)]
pub(crate) enum DemoError {
    /// No port, or no signals.
    Listen(io::Error),
    /// No certificate.
    Certificate(CertificateError),
    /// No relay.
    Relay(StartError),
    /// No agent.
    Agent(TlsSetupError),
}

/// Why there is no certificate.
#[derive(Debug)]
pub(crate) enum CertificateError {
    /// It cannot be made; in words.
    Make(String),
    /// It cannot be used.
    Use(TlsSetupError),
}

impl fmt::Display for DemoError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => write!(formatter, "no port of loopback can be used: {error}"),
            Self::Certificate(CertificateError::Make(error)) => {
                write!(formatter, "no certificate can be made: {error}")
            }
            Self::Certificate(CertificateError::Use(error)) | Self::Agent(error) => {
                error.fmt(formatter)
            }
            Self::Relay(error) => error.fmt(formatter),
        }
    }
}
