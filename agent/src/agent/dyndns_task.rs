//! Updates DNS records as [`DynDns`] has it: one small request for each.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log::{info, warn};
use smol::Task;

use super::dyndns::{DynDns, Flights, Next};
use super::plan::{Context, Plan};
use super::supervisor::{fill_random, random_number};
use crate::config::{DynDnsSettings, RelayAddress, Security, TlsSettings};
use crate::net::{Connection, Connector, Opening, before};
use crate::tunnel::Notify;
use crate::wire::{Salt, sign};

/// Time for one update, from the lookup to the answer.
const UPDATE_TIME: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 8 * 1024;
/// Characters of a signature (`protocol.md` 4).
const SIGNATURE_LENGTH: usize = 48;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The kites' DNS records.
#[derive(Default)]
pub(super) struct Records {
    dyndns: RefCell<DynDns>,
    /// Who was told.
    service: RefCell<Option<DynDnsSettings>>,
    bell: Notify,
}

impl Records {
    /// The kites fly by these relays now.
    pub(super) fn set_flights(&self, flights: Flights) {
        self.dyndns.borrow_mut().set_flights(flights);
        self.bell.notify();
    }

    async fn keep(&self, context: &Context) {
        loop {
            let plan = context.plan();
            if *self.service.borrow() != plan.settings.dyndns {
                self.service.borrow_mut().clone_from(&plan.settings.dyndns);
                self.dyndns.borrow_mut().forget();
            }
            let next = match &plan.settings.dyndns {
                Some(_) => self.dyndns.borrow().next(Instant::now()),
                None => Next::Rest,
            };
            match (next, &plan.settings.dyndns) {
                (Next::Update(domain, addresses), Some(settings)) => {
                    self.update(&plan, settings, &domain, addresses).await;
                }
                (Next::Wait(until), _) => {
                    before(until, self.bell.wait()).await;
                }
                _ => self.bell.wait().await,
            }
        }
    }

    async fn update(
        &self,
        plan: &Plan,
        settings: &DynDnsSettings,
        domain: &str,
        addresses: Vec<IpAddr>,
    ) {
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let list = list.join(",");
        let updating = ask(plan, settings, domain, &list);
        let outcome = before(Instant::now() + UPDATE_TIME, updating).await;
        match outcome.unwrap_or_else(|| Err("no answer in time".to_owned())) {
            Ok(()) => {
                info!("DNS: {domain} leads to {list} now");
                self.dyndns.borrow_mut().taken(domain, addresses);
            }
            Err(text) => {
                let random = random_number();
                let now = Instant::now();
                let wait = self.dyndns.borrow_mut().failed(now, domain, addresses, random);
                let seconds = wait.as_secs();
                warn!("DNS: the record of {domain} was not updated: {text}; again in {seconds} s");
            }
        }
    }
}

/// Starts to keep the records.
pub(super) fn start(context: &Rc<Context>, records: &Rc<Records>) -> Task<()> {
    let (context, records) = (Rc::clone(context), Rc::clone(records));
    let executor = context.executor;
    executor.spawn(async move { records.keep(&context).await })
}

/// The parts of a URL.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    is_https: bool,
    server: RelayAddress,
    host: String,
    path: String,
}

impl Url {
    fn read(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = scheme == "https";
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let port = if is_https { HTTPS_PORT } else { HTTP_PORT };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, digits)) if !digits.ends_with(']') => (name, digits.parse().ok()?),
            _ => (host, port),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let server = RelayAddress { host: name.to_owned(), port };
        Some(Self { is_https, server, host: host.to_owned(), path: path.to_owned() })
    }
}

/// One update.
async fn ask(
    plan: &Plan,
    settings: &DynDnsSettings,
    domain: &str,
    addresses: &str,
) -> Result<(), String> {
    let kites = &plan.settings.kites;
    let secret = kites.iter().find(|kite| kite.id.domain() == domain).map(|kite| &kite.secret);
    let secret = secret.ok_or("the kite is gone")?;
    let mut salt = [0; 4];
    fill_random(&mut salt);
    let payload = format!("{domain}:{addresses}");
    let sign = sign(secret.bytes(), payload.as_bytes(), Salt::from_random(salt), SIGNATURE_LENGTH);
    let url = fill_in(&settings.template, domain, addresses, &sign);
    let url = match &settings.account {
        Some((user, password)) => url
            .replace("%(user)s", &escaped(user.as_bytes()))
            .replace("%(pass)s", &escaped(password.bytes())),
        None => url,
    };
    let Url { is_https, mut server, host, path } =
        Url::read(&url).ok_or("dyndns is no URL; write https://HOST/PATH")?;
    let security = match is_https || settings.inside_tls {
        true => {
            let roots = match &plan.settings.security {
                Security::Tls(tls) => tls.roots.clone(),
                Security::Plain => None,
            };
            Security::Tls(TlsSettings { names: Vec::new(), roots })
        }
        false => Security::Plain,
    };
    let connector = Connector::new(&security)
        .map_err(|error| error.to_string())?
        .through(plan.settings.proxy.clone());
    let mut request = String::new();
    if settings.inside_tls && !is_https {
        // As PageKite's agents do: the way is protected, the service is the
        // one in clear behind it.
        request = format!("CONNECT {}:{HTTP_PORT} HTTP/1.1\r\n\r\n", server.host);
        server.port = HTTPS_PORT;
    }
    let opened = connector.open(&server, Opening::Direct).await;
    // The words for relays are none for this.
    let connection = opened.map_err(|error| format!("{}: {}", server.host, error.failure))?;
    if !request.is_empty() {
        let answer = exchange(&connection, request.as_bytes(), head_is_whole).await?;
        if status(&answer) != Some(200) {
            return Err(format!("{} refuses CONNECT", server.host));
        }
    }
    let credentials = settings.account.as_ref().map_or_else(String::new, |(user, password)| {
        let pair = [user.as_bytes(), b":", password.bytes()].concat();
        format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
    });
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: {}\r\n{credentials}\
         Connection: close\r\n\r\n",
        crate::wire::VERSION
    );
    judge(&exchange(&connection, request.as_bytes(), is_complete).await?)
}

/// Whether nothing of meaning can follow: the service may keep the connection.
fn is_complete(answer: &[u8]) -> bool {
    let body = body(answer);
    if body.starts_with(b"good") || body.starts_with(b"nochg") {
        return true;
    }
    let lines = answer.split(|&byte| byte == b'\n').take_while(|line| line.trim_ascii() != b"");
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        name.eq_ignore_ascii_case("Content-Length").then(|| value.trim().parse::<usize>().ok())?
    });
    head_is_whole(answer) && lengths.next().is_some_and(|length| body.len() >= length)
}

/// A text as it may stand in a URL (RFC 3986 section 2.1).
fn escaped(text: &[u8]) -> String {
    text.iter()
        .map(|&byte| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Puts the values in the places of a template.
fn fill_in(template: &str, domain: &str, addresses: &str, sign: &str) -> String {
    let first = addresses.split(',').next().unwrap_or_default();
    template
        .replace("%(domain)s", domain)
        .replace("%(ips)s", addresses)
        .replace("%(ip)s", first)
        .replace("%(sign)s", sign)
}

/// Sends a request and reads until `is_enough`, the end, or the bound.
async fn exchange(
    connection: &Connection,
    request: &[u8],
    is_enough: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, String> {
    let lost = |error: io::Error| format!("the connection was lost: {error}");
    connection.write_all(request).await.map_err(lost)?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 1024];
    while answer.len() < MAX_ANSWER_BYTES && !is_enough(&answer) {
        match connection.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable().await.map_err(lost)?;
            }
            // What came is an answer, however the connection ended.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(answer)
}

fn head_is_whole(answer: &[u8]) -> bool {
    answer.windows(4).any(|four| four == b"\r\n\r\n")
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|&byte| byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

fn body(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    head.and_then(|head| answer.get(head + 4..)).unwrap_or_default()
}

/// What the service says: `good` and `nochg` are success (`protocol.md` 15).
fn judge(answer: &[u8]) -> Result<(), String> {
    let Some(status) = status(answer) else { return Err("the answer is not HTTP".to_owned()) };
    let body = body(answer).trim_ascii_start();
    if body.starts_with(b"good") || body.starts_with(b"nochg") {
        return Ok(());
    }
    let word: String = body
        .iter()
        .take(20)
        .map_while(|&byte| byte.is_ascii_alphanumeric().then_some(char::from(byte)))
        .collect();
    Err(match (status, word.as_str()) {
        (401, _) | (_, "badauth") => "the account or the kite's secret is wrong there".to_owned(),
        (_, "nohost" | "notfqdn") => "the name is not known there".to_owned(),
        (_, "abuse") => "the service has blocked this name; ask there".to_owned(),
        (200, word) => format!("the service says {word:?}"),
        (status, _) => format!("the service answers with HTTP {status}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_words() {
        let answer = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes();
        assert_eq!(judge(&answer("200 OK", "good 192.0.2.1")), Ok(()));
        assert_eq!(judge(&answer("200 OK", "nochg")), Ok(()));
        assert!(judge(&answer("200 OK", "badauth")).is_err_and(|text| text.contains("secret")));
        assert!(judge(&answer("500 Oops", "")).is_err_and(|text| text.contains("HTTP 500")));
        assert!(judge(b"garbage").is_err_and(|text| text.contains("not HTTP")));
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        let answer = |text: &str| is_complete(text.as_bytes());
        assert!(answer("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ngood 192"));
        assert!(answer("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nbadauth"));
        assert!(!answer("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nbad"));
        assert!(!answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"));
        assert!(!answer("HTTP/1.1 200 OK\r\n\r\nbadauth"));
        assert_eq!(escaped(b"a b&c"), "a%20b%26c");
    }

    #[test]
    fn urls_are_read() {
        let url = Url::read("http://up.example.com:8080/?a=b").expect("a URL");
        assert_eq!((url.server.port, url.path.as_str()), (8080, "/?a=b"));
        let url = Url::read("https://[2001:db8::1]").expect("a URL");
        assert_eq!((url.server.host.as_str(), url.server.port), ("2001:db8::1", 443));
        assert_eq!(url.path, "/");
    }

    #[test]
    fn places_are_filled_in() {
        let filled = fill_in("%(domain)s %(ip)s %(ips)s %(sign)s", "a.b", "1.2.3.4,5.6.7.8", "x");
        assert_eq!(filled, "a.b 1.2.3.4 1.2.3.4,5.6.7.8 x");
    }

    /// Vectors 5 and 10 of `protocol.md` 4.
    #[test]
    fn signatures_are_the_references() {
        let signed = |payload: &str, salt: [u8; 4]| {
            sign(b"s3cret", payload.as_bytes(), Salt::from_random(salt), SIGNATURE_LENGTH)
        };
        assert_eq!(
            signed("foo.example.com:192.0.2.1,192.0.2.2", [0x55, 0x66, 0x77, 0x88]),
            "556677881fd2453a9aeab6bc9c02be867eff18bcafe6a723"
        );
        assert_eq!(
            signed("kite.test:127.0.0.1", [0x6d, 0x8c, 0xd2, 0x17]),
            "6d8cd217a0dd08e915042c6aa238ed26e892410eb5ca0ea6"
        );
    }
}
