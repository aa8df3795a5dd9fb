//! The way out through a proxy: what the lines `proxy`, `socksify`, `torify` and
//! `noproxy` mean (features D), PageKite's as far as one proxy goes. Without
//! any of them the environment decides, see [`super::proxy_environment`].

use std::fmt;
use std::net::IpAddr;

use super::address::{host_port, is_host_name, port};
use super::environment::Environment;
use super::grammar::TypedLine;
use super::problem::{Place, Report};
use super::proxy_environment;
use super::secrets::warn_exposed;
use super::settings::{AddressRange, RelayAddress, RelayPool, write_host_port};
use crate::wire::Secret;

/// Most bytes of a user name and of a password (RFC 1929 section 2 has one
/// byte for the length of each).
pub const MAX_PROXY_CREDENTIAL_BYTES: usize = 255;

/// Options and variables that name a proxy.
pub(super) const PROXY_OPTIONS: [&str; 8] = [
    "proxy",
    "socksify",
    "torify",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "http_proxy",
];

const SHAPE: &str = "is written TYPE:[USER:PASSWORD@]HOST:PORT, where TYPE is http, socks5 or tor; \
     an IPv6 address stands in brackets";
const SOCKS_SHAPE: &str = "is written HOST:PORT, such as 127.0.0.1:9050 or [::1]:9050";
const ON_COMMAND_LINE: &str = "a password never goes on the command line, where every user of this \
     machine can read it; write the line in a file";

/// How relays are reached; by default without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// The proxy, if there is one.
    pub proxy: Option<Proxy>,
    /// The variable of the environment that named it; `None` for a line.
    pub variable: Option<&'static str>,
    /// Relays that are reached without it (`NO_PROXY`).
    pub exceptions: Vec<ProxyException>,
}

impl ProxySettings {
    /// The proxy on the way to `relay`.
    pub fn to(&self, relay: &RelayAddress) -> Option<&Proxy> {
        let excepted = || self.exceptions.iter().any(|exception| exception.covers(relay));
        self.proxy.as_ref().filter(|_| !excepted())
    }
}

/// `http proxy HOST:PORT`, and where that was found.
impl fmt::Display for ProxySettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            None => return formatter.write_str("no proxy"),
            Some(proxy) => write!(formatter, "{} proxy {proxy}", proxy.kind)?,
        }
        match self.variable {
            Some(variable) => write!(formatter, " ({variable} in the environment)"),
            None => Ok(()),
        }
    }
}

/// A proxy that connects to relays for the agent, and looks their names up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Which language it speaks.
    pub kind: ProxyKind,
    /// DNS name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What it is told about who we are.
    pub credentials: Option<ProxyCredentials>,
}

/// `HOST:PORT`, without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_port(formatter, &self.host, self.port)
    }
}

/// The language of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP's `CONNECT` (RFC 9110 section 9.3.6).
    Http,
    /// SOCKS version 5 (RFC 1928), which Tor speaks as well.
    Socks5,
}

/// As the option has it.
impl fmt::Display for ProxyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
        })
    }
}

/// Who we are to a proxy: 1 and 0 to [`MAX_PROXY_CREDENTIAL_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user name; nobody else's business either.
    pub user: Secret,
    /// The password, which may be empty.
    pub password: Secret,
}

/// Relays that are reached without the proxy: one entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyException {
    /// Which hosts.
    pub hosts: ProxyExceptionHosts,
    /// On this port only.
    pub port: Option<u16>,
}

/// Hosts that are reached without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyExceptionHosts {
    /// All of them (`*`).
    All,
    /// This machine, by `localhost` or a loopback address.
    Loopback,
    /// Addresses. A name is not looked up for it.
    Range(AddressRange),
    /// This domain, in lower case, and everything below it.
    Domain(String),
}

impl ProxyException {
    fn covers(&self, relay: &RelayAddress) -> bool {
        if self.port.is_some_and(|port| port != relay.port) {
            return false;
        }
        let address: Option<IpAddr> = relay.host.parse().ok();
        let name = relay.host.trim_end_matches('.').to_ascii_lowercase();
        match &self.hosts {
            ProxyExceptionHosts::All => true,
            ProxyExceptionHosts::Loopback => match address {
                Some(address) => address.to_canonical().is_loopback(),
                None => is_below(&name, "localhost"),
            },
            ProxyExceptionHosts::Range(range) => {
                address.is_some_and(|address| range.contains(address))
            }
            ProxyExceptionHosts::Domain(domain) => address.is_none() && is_below(&name, domain),
        }
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What the lines have asked for so far.
#[derive(Debug, Default)]
enum Choice {
    /// What the environment says.
    #[default]
    Environment,
    Direct,
    Through(Proxy, Place),
}

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct ProxyLines {
    choice: Choice,
}

impl ProxyLines {
    /// `proxy = TYPE:[USER:PASSWORD@]HOST:PORT`.
    pub(super) fn set(&mut self, line: &TypedLine, report: &mut Report) -> Result<(), String> {
        match line.value.as_str() {
            "" | "none" => self.clear(),
            "default" => self.choice = Choice::Environment,
            value => self.through(proxy(value)?, line, report)?,
        }
        Ok(())
    }

    /// `socksify = HOST:PORT` and `torify = HOST:PORT`.
    pub(super) fn set_socks(
        &mut self,
        line: &TypedLine,
        report: &mut Report,
    ) -> Result<(), String> {
        let proxy = address(ProxyKind::Socks5, &line.value, None, None).ok_or(SOCKS_SHAPE)?;
        self.through(proxy, line, report)
    }

    /// `noproxy`: forgets what was set, and what the environment says.
    pub(super) fn clear(&mut self) {
        self.choice = Choice::Direct;
    }

    /// A line of the command line takes the place of those of the files.
    fn through(
        &mut self,
        proxy: Proxy,
        line: &TypedLine,
        report: &mut Report,
    ) -> Result<(), String> {
        let typed = line.place.file().is_none();
        match &self.choice {
            Choice::Through(known, place) if *known != proxy && place.file().is_none() == typed => {
                return Err(format!(
                    "is the second proxy after that of {place}, and one cannot be reached through \
                     another; remove a line, or write noproxy before this one"
                ));
            }
            _ => {}
        }
        if proxy.credentials.is_some() {
            if typed {
                return Err(ON_COMMAND_LINE.into());
            }
            if line.exposed {
                warn_exposed(&line.place, report);
            }
        }
        self.choice = Choice::Through(proxy, line.place.clone());
        Ok(())
    }

    /// What holds in the end. A variable that cannot be understood is a
    /// mistake: to go round the proxy is not what anybody asked for.
    pub(super) fn finish(
        self,
        environment: &dyn Environment,
        report: &mut Report,
    ) -> ProxySettings {
        match self.choice {
            Choice::Environment => proxy_environment::read(environment, report),
            Choice::Direct => ProxySettings::default(),
            Choice::Through(proxy, _) => {
                ProxySettings { proxy: Some(proxy), ..ProxySettings::default() }
            }
        }
    }
}

/// What is wrong with a relay that only a proxy can reach, where there is none.
pub(super) fn without_tor(
    relays: &[RelayAddress],
    pool: Option<&RelayPool>,
    proxy: &ProxySettings,
) -> Option<String> {
    let pool = pool.and_then(RelayPool::as_relay);
    let mut relays = relays.iter().chain(&pool);
    let relay = relays.find(|relay| relay.is_onion() && proxy.to(relay).is_none())?;
    Some(format!("{} is reached through Tor only; write torify = 127.0.0.1:9050", relay.host))
}

/// Reads the value of `proxy`. No error quotes it, since any part may be a
/// password.
///
/// # Errors
/// What is wrong and the mend.
fn proxy(value: &str) -> Result<Proxy, String> {
    let separator = value.find([':', '!']).ok_or(SHAPE)?;
    let (kind, rest) = value.split_at(separator);
    if rest.starts_with("://") {
        return proxy_environment::url(value);
    }
    let kind = kind_of(kind)?.ok_or(SHAPE)?;
    let bang = rest.starts_with('!');
    let rest = rest.get(1..).ok_or(SHAPE)?;
    let (credentials, place) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((credentials, place)) => {
            let parts = credentials.split_once(if bang { '!' } else { ':' });
            let (user, password) =
                parts.or_else(|| credentials.split_once(':')).unwrap_or((credentials, ""));
            (Some(self::credentials(kind, user.as_bytes(), password.as_bytes())?), place)
        }
    };
    address(kind, place, None, credentials).ok_or_else(|| SHAPE.to_owned())
}

/// Which language a type or scheme stands for; `None` is an unknown one.
///
/// # Errors
/// It is known and not spoken here; says what to write instead.
pub(super) fn kind_of(word: &str) -> Result<Option<ProxyKind>, &'static str> {
    match word {
        "http" => Ok(Some(ProxyKind::Http)),
        "socks5" | "socks5h" | "socks" | "tor" => Ok(Some(ProxyKind::Socks5)),
        "httpc" => Err("write http in place of httpc; it is always asked with CONNECT"),
        "https" | "httpcs" => Err(
            "TLS to the proxy itself is not supported; write http, if the proxy has a port without \
             TLS: the tunnel inside has TLS of its own",
        ),
        "socks4" | "socks4a" => {
            Err("SOCKS 4 is not supported; write socks5, which nearly every SOCKS proxy speaks")
        }
        "ssl" | "ssl-anon" | "ssl-weak" => {
            Err("a TLS server on the way is not supported; name an HTTP or SOCKS 5 proxy, \
             as http:HOST:PORT or socks5:HOST:PORT")
        }
        _ => Ok(None),
    }
}

/// Reads `HOST:PORT`, `[IPV6]:PORT` or `IPV6!PORT`.
pub(super) fn address(
    kind: ProxyKind,
    text: &str,
    default_port: Option<u16>,
    credentials: Option<ProxyCredentials>,
) -> Option<Proxy> {
    let (host, port) = match text.rsplit_once('!') {
        Some((host, digits)) => {
            let host =
                host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let usable = host.parse::<IpAddr>().is_ok() || is_host_name(host);
            (usable.then(|| host.to_owned())?, port(digits)?)
        }
        None => host_port(text, default_port)?,
    };
    Some(Proxy { kind, host, port, credentials })
}

/// Checks that the proxy's language can carry them.
///
/// # Errors
/// What is wrong and the mend, without the credentials.
pub(super) fn credentials(
    kind: ProxyKind,
    user: &[u8],
    password: &[u8],
) -> Result<ProxyCredentials, String> {
    if user.is_empty() {
        return Err("the user name before @ is empty; write USER:PASSWORD@HOST:PORT".into());
    }
    if user.len().max(password.len()) > MAX_PROXY_CREDENTIAL_BYTES {
        return Err(format!(
            "user name and password of a proxy have {MAX_PROXY_CREDENTIAL_BYTES} bytes each at most"
        ));
    }
    if kind == ProxyKind::Http && user.contains(&b':') {
        // RFC 7617 section 2.
        return Err("a user name for an HTTP proxy cannot hold a colon".into());
    }
    Ok(ProxyCredentials { user: Secret::new(user), password: Secret::new(password) })
}

#[cfg(test)]
mod tests;
