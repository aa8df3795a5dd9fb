//! The proxy that the environment names, as curl and most other programs find
//! it: `https_proxy`, `all_proxy`, `http_proxy` and `no_proxy`, in lower or upper
//! case, read only where no option says anything.

use std::path::Path;

use super::address::{address_range, host_port, is_host_name, port};
use super::environment::Environment;
use super::problem::{Place, Report};
use super::proxy::{
    Proxy, ProxyException, ProxyExceptionHosts, ProxyKind, ProxySettings, address, credentials,
    kind_of,
};

/// In the order in which they are looked at: a tunnel is TLS. Upper-case
/// `HTTP_PROXY` is missing on purpose: whoever sends a request with a header
/// `Proxy` to a CGI program sets it there (httpoxy, CVE-2016-5385).
const VARIABLES: [&str; 5] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// `*`, which makes all the rest void.
const EVERYWHERE: ProxyException = ProxyException { hosts: ProxyExceptionHosts::All, port: None };

/// The port of a URL without one (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;
/// The same for SOCKS (RFC 1928 section 3).
const SOCKS_PORT: u16 = 1080;

const SHAPE: &str = "is written http://USER:PASSWORD@HOST:PORT or socks5://USER:PASSWORD@HOST:PORT";

/// Reads the variables. An empty one counts as none.
pub(super) fn read(environment: &dyn Environment, report: &mut Report) -> ProxySettings {
    let set = |name: &&'static str| {
        let value = environment.variable(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| (*name, value.to_owned()))
    };
    let Some((variable, value)) = VARIABLES.iter().find_map(set) else {
        return ProxySettings::default();
    };
    let exceptions = EXCEPTIONS.iter().find_map(set).map(|(_, list)| exceptions(&list));
    let exceptions = exceptions.unwrap_or_default();
    if exceptions.contains(&EVERYWHERE) {
        return ProxySettings::default();
    }
    match url(&value) {
        Ok(proxy) => {
            // A relay on this machine is never meant, as other programs have it.
            let loopback = ProxyException { hosts: ProxyExceptionHosts::Loopback, port: None };
            let exceptions = std::iter::once(loopback).chain(exceptions).collect();
            ProxySettings { proxy: Some(proxy), variable: Some(variable), exceptions }
        }
        Err(text) => {
            let place = Place::path(Path::new("environment"));
            let text = format!("{text}; or write noproxy to go without one");
            report.mistake(&place, variable, text);
            ProxySettings::default()
        }
    }
}

/// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`, with user name and
/// password percent-encoded (RFC 3986 section 3.2.1).
///
/// # Errors
/// What is wrong and the mend, without the credentials.
pub(super) fn url(text: &str) -> Result<Proxy, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let kind = kind_of(&scheme.to_ascii_lowercase())?.ok_or(SHAPE)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user_info, place) = match authority.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, authority),
    };
    let credentials = match user_info {
        // `http://:@host`, as programs write that have none.
        None | Some("" | ":") => None,
        Some(user_info) => {
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            Some(credentials(kind, &percent_decoded(user), &percent_decoded(password))?)
        }
    };
    let default_port = match kind {
        ProxyKind::Http => HTTP_PORT,
        ProxyKind::Socks5 => SOCKS_PORT,
    };
    address(kind, place, Some(default_port), credentials).ok_or_else(|| SHAPE.to_owned())
}

/// The bytes that `%41` and its like stand for. Anything else behind a `%`
/// stays, as curl has it: many a password was typed without encoding.
fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let pair = (digit(bytes.get(index + 1)), digit(bytes.get(index + 2)));
        if let (b'%', (Some(high), Some(low))) = (byte, pair) {
            decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
            index += 3;
        } else {
            decoded.push(*byte);
            index += 1;
        }
    }
    decoded
}

/// Reads `NO_PROXY`. An entry that is nothing known here may be for another
/// program, and is passed over. The kernel bounds the length of a variable.
fn exceptions(list: &str) -> Vec<ProxyException> {
    let entries = list.split(|letter: char| letter == ',' || letter.is_whitespace());
    entries.filter(|entry| !entry.is_empty()).filter_map(exception).collect()
}

/// Reads `*`, `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`, `example.com`,
/// `.example.com` or `*.example.com`, all but the addresses with `:PORT`.
fn exception(entry: &str) -> Option<ProxyException> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    if let Some(range) = address_range(bare) {
        return Some(ProxyException { hosts: ProxyExceptionHosts::Range(range), port: None });
    }
    let (hosts, port) = match entry.rsplit_once(':') {
        Some((hosts, digits)) => (hosts, Some(port(digits)?)),
        None => (entry, None),
    };
    if hosts == "*" {
        return Some(ProxyException { hosts: ProxyExceptionHosts::All, port });
    }
    let hosts = match host_port(hosts, Some(HTTP_PORT)).and_then(|(host, _)| address_range(&host)) {
        Some(range) => ProxyExceptionHosts::Range(range),
        None => {
            let domain = hosts.strip_prefix('*').unwrap_or(hosts).trim_matches('.');
            is_host_name(domain)
                .then(|| ProxyExceptionHosts::Domain(domain.to_ascii_lowercase()))?
        }
    };
    Some(ProxyException { hosts, port })
}

#[cfg(test)]
mod tests;
