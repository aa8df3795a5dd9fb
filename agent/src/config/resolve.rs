//! From typed lines to [`Settings`]: what each option does, and what has to be
//! there in the end.

use std::path::{Path, PathBuf};

use super::dyndns;
use super::environment::Environment;
use super::grammar::TypedLine;
use super::kites::KiteLines;
use super::options::{Action, Meaning};
use super::problem::{Place, Report};
use super::proxy::{PROXY_OPTIONS, ProxyLines, without_tor};
use super::relay::{MAX_SPARE_RELAYS, RelayLines};
use super::settings::{DynDnsSettings, Settings};
use super::short::ShortKite;
use super::source::{Source, resolve_path};

/// Seconds of silence before a sign of life is asked for (`protocol.md` 16).
pub const DEFAULT_KEEPALIVE_SECONDS: u32 = 80;
/// The same at a relay, where agents ask first: PageKite's (`protocol.md` 10).
#[cfg(feature = "relay")]
pub const DEFAULT_RELAY_KEEPALIVE_SECONDS: u32 = 116;
/// Fewest seconds for `keepalive` (features D).
pub const MIN_KEEPALIVE_SECONDS: u32 = 20;
/// Longest wait for another try while an outage is young (`retry_max`).
pub const DEFAULT_RETRY_SECONDS: u32 = 15;
/// Longest wait for another try after ten minutes (`late_retry_max`).
pub const DEFAULT_LATE_RETRY_SECONDS: u32 = 60;
/// Most seconds for either.
pub const MAX_RETRY_SECONDS: u32 = 3600;
/// Most seconds for `keepalive`; a day, after which nothing is kept alive.
pub const MAX_KEEPALIVE_SECONDS: u32 = 86_400;
/// Streams of a tunnel when `max_streams` is not set.
pub const DEFAULT_MAX_STREAMS: usize = 1024;
/// Most that `max_streams` may be.
pub const MAX_MAX_STREAMS: usize = 65_536;
/// Kilobytes of buffers when `buffers` is not set (features L).
pub const DEFAULT_BUFFER_KILOBYTES: usize = 1024;
/// Fewest kilobytes for `buffers`: what some frames of a tunnel need.
pub const MIN_BUFFER_KILOBYTES: usize = 64;
/// Most kilobytes for `buffers`.
pub const MAX_BUFFER_KILOBYTES: usize = 1024 * 1024;

const NO_WEBSOCKET: &str = "the relays of pagekite.net take no tunnels inside a WebSocket; remove \
     wschunks, or name a relay of Kitelet's with frontend";
/// Options that name a relay, or files where one may be named.
const RELAY_OPTIONS: [&str; 6] = ["", "optfile", "optdir", "frontend", "frontends", "whitelabel"];
/// Options that name a service, or files where one may be named.
const SERVICE_OPTIONS: [&str; 5] = ["", "optfile", "optdir", "service_on", "kitesecret"];

/// Understands every line; `None` when `report` holds mistakes.
pub(super) fn resolve(
    lines: Vec<TypedLine>,
    sources: &[Source],
    environment: &dyn Environment,
    report: &mut Report,
) -> Option<Settings> {
    let mut resolver = Resolver {
        environment,
        report,
        relays: RelayLines::default(),
        proxy: ProxyLines::default(),
        kites: KiteLines::default(),
        new_relays: false,
        new_names: false,
        first_relay: None,
        names: None,
        dyndns: None,
        spare_relays: 0,
        ignores_own_names: false,
        compress: false,
        websocket: None,
        keepalive_seconds: DEFAULT_KEEPALIVE_SECONDS,
        adapts_keepalive: true,
        retry_seconds: DEFAULT_RETRY_SECONDS,
        late_retry_seconds: DEFAULT_LATE_RETRY_SECONDS,
        max_streams: DEFAULT_MAX_STREAMS,
        buffer_kilobytes: DEFAULT_BUFFER_KILOBYTES,
        state_directory: None,
        runtime_directory: None,
    };
    for line in lines {
        resolver.line(&line);
    }
    resolver.finish(sources)
}

struct Resolver<'a> {
    environment: &'a dyn Environment,
    report: &'a mut Report,
    relays: RelayLines,
    proxy: ProxyLines,
    kites: KiteLines,
    /// The command line has named relays or certificate names.
    new_relays: bool,
    new_names: bool,
    /// Where the first relay and the last certificate name were typed.
    first_relay: Option<Place>,
    names: Option<Place>,
    dyndns: Option<DynDnsSettings>,
    spare_relays: usize,
    ignores_own_names: bool,
    compress: bool,
    /// Where tunnels inside a WebSocket were asked for.
    websocket: Option<Place>,
    keepalive_seconds: u32,
    adapts_keepalive: bool,
    retry_seconds: u32,
    late_retry_seconds: u32,
    max_streams: usize,
    buffer_kilobytes: usize,
    state_directory: Option<PathBuf>,
    runtime_directory: Option<PathBuf>,
}

impl Resolver<'_> {
    fn line(&mut self, line: &TypedLine) {
        let Some(action) = action_of(line.row.meaning, line, self.report) else { return };
        if let Err(text) = self.act(action, line) {
            self.report.mistake(&line.place, line.row.name, text);
        }
    }

    fn act(&mut self, action: Action, line: &TypedLine) -> Result<(), String> {
        let value = line.value.as_str();
        self.note_relays(action, &line.place);
        match action {
            // Followed while the files were read.
            Action::OptFile | Action::OptDir => Ok(()),
            Action::KiteName => self.kites.set_name(value),
            Action::KiteSecret => self.kites.set_secret(line, self.report),
            Action::KiteSecretFile => {
                self.kites.set_secret_file(line, self.environment, self.report)
            }
            Action::ServiceOn => self.kites.add_service(line, true, self.report),
            Action::ServiceOff => self.kites.add_service(line, false, self.report),
            Action::ServiceName => self.kites.name_service(value),
            Action::ServiceFlag => self.kites.add_flag(line, self.report),
            Action::Insecure => {
                self.kites.set_insecure();
                Ok(())
            }
            Action::Defaults => {
                self.dyndns = Some(dyndns::hosted());
                self.relays.set_defaults()
            }
            Action::WhiteLabel | Action::WhiteLabelTls => {
                let https = action == Action::WhiteLabelTls;
                self.relays.set_white_label(value, https)?;
                self.dyndns = Some(dyndns::white_label(&value.to_ascii_lowercase(), https));
                Ok(())
            }
            Action::DynDns => {
                self.dyndns = dyndns::read(value)?;
                let has_account = self.dyndns.as_ref().is_some_and(|read| read.account.is_some());
                if has_account && line.place.file().is_none() {
                    return Err("every user of this machine can read a password on the command \
                         line; write the line in a file"
                        .into());
                }
                Ok(())
            }
            Action::Frontend => self.relays.add_relay(value),
            Action::Frontends => self.relays.set_pool(value),
            Action::NoFrontend => self.relays.add_never(value),
            Action::SpareRelays => {
                self.spare_relays = number(value, 0..=MAX_SPARE_RELAYS, "relays")?;
                Ok(())
            }
            Action::NewNames => {
                self.ignores_own_names = true;
                Ok(())
            }
            Action::ErrorUrl => self.relays.set_error_url(value),
            Action::NoSsl => {
                self.relays.set_plain();
                Ok(())
            }
            Action::CertificateName => self.relays.add_name(value),
            Action::Roots => self.roots(line),
            Action::Proxy => self.proxy.set(line, self.report),
            Action::SocksProxy => self.proxy.set_socks(line, self.report),
            Action::NoProxy => {
                self.proxy.clear();
                Ok(())
            }
            Action::Compress(on) => {
                self.compress = on;
                Ok(())
            }
            Action::WebSocket => {
                self.websocket = Some(line.place.clone());
                Ok(())
            }
            Action::KeepAlive => {
                let (seconds, doubt) = keepalive(value, DEFAULT_KEEPALIVE_SECONDS)?;
                self.keepalive_seconds = seconds;
                self.adapts_keepalive = value.eq_ignore_ascii_case("auto");
                doubt.iter().for_each(|doubt| self.warn(line, doubt));
                Ok(())
            }
            Action::Retry => {
                self.retry_seconds = retry_seconds(value)?;
                Ok(())
            }
            Action::LateRetry => {
                self.late_retry_seconds = retry_seconds(value)?;
                Ok(())
            }
            Action::Buffers => {
                let range = MIN_BUFFER_KILOBYTES..=MAX_BUFFER_KILOBYTES;
                self.buffer_kilobytes = number(value, range, "kilobytes")?;
                Ok(())
            }
            Action::MaxStreams => {
                self.max_streams = number(value, 1..=MAX_MAX_STREAMS, "streams")?;
                Ok(())
            }
            Action::StateDirectory => {
                self.state_directory = Some(directory(value)?);
                Ok(())
            }
            Action::RuntimeDirectory => {
                self.runtime_directory = Some(directory(value)?);
                Ok(())
            }
            Action::WebServer => {
                if !value.eq_ignore_ascii_case("off") {
                    self.warn(
                        line,
                        "has no effect; there is no built-in web server: remove this line",
                    );
                }
                Ok(())
            }
        }
    }

    /// A relay or a certificate name of the command line takes the place of
    /// those of the files.
    fn note_relays(&mut self, action: Action, place: &Place) {
        let typed = place.file().is_none();
        match action {
            Action::Frontend | Action::Frontends | Action::Defaults => {
                if typed && !std::mem::replace(&mut self.new_relays, true) {
                    self.relays.forget_relays();
                    self.new_names = true;
                }
                self.first_relay.get_or_insert_with(|| place.clone());
            }
            Action::CertificateName => {
                if typed && !std::mem::replace(&mut self.new_names, true) {
                    self.relays.forget_names();
                }
                self.names = Some(place.clone());
            }
            _ => {}
        }
    }

    fn warn(&mut self, line: &TypedLine, text: &str) {
        self.report.warning(&line.place, line.row.name, text);
    }

    fn roots(&mut self, line: &TypedLine) -> Result<(), String> {
        match line.value.as_str() {
            "" => self.relays.set_roots(None),
            "auto" | "curl" => {
                self.warn(line, "the roots that are built in are used; remove the line");
                self.relays.set_roots(None);
            }
            value => {
                let path = resolve_path(&line.place, value, self.environment);
                if self.environment.is_folder(&path).unwrap_or(true) {
                    return Err(format!(
                        "{} is not a file; install the package ca-certificates, or remove the line \
                         to use the roots that are built in",
                        path.display()
                    ));
                }
                self.relays.set_roots(Some(path));
            }
        }
        Ok(())
    }

    fn finish(self, sources: &[Source]) -> Option<Settings> {
        let report = self.report;
        let write_to = write_to(sources);
        let is_folder = self.environment.is_folder(&write_to).unwrap_or(false);
        let file = |name: &str| {
            let path = if is_folder { write_to.join(name) } else { write_to.clone() };
            path.display().to_string()
        };
        let place = Place::path(&write_to);
        // What is missing may stand in a line or file that was not understood.
        let unread = |report: &Report, options: &[&str]| {
            let mut mistakes = report.mistakes.iter();
            mistakes.any(|mistake| options.contains(&mistake.option.as_str()))
        };

        let short: Vec<ShortKite> = sources
            .iter()
            .filter_map(|source| match source {
                Source::Kites(kites) => Some(kites.as_slice()),
                _ => None,
            })
            .flatten()
            .cloned()
            .collect();
        if self.relays.names_without_tls() {
            if let Some(place) = &self.names {
                let text = "is not used, because nossl sends everything in clear; remove nossl";
                report.warning(place, "fe_certname", text);
            }
        }
        if let (Some(relay), Some(place)) = (self.relays.address_without_name(), &self.first_relay)
        {
            let text = format!(
                "the certificate of the relay has to be for the address {}; if it is for a name, \
                 write fe_certname = NAME",
                relay.host
            );
            report.warning(place, "frontend", text);
        }
        if let (true, Some(place)) = (self.relays.has_pagekites_pool(), &self.websocket) {
            report.warning(place, "wschunks", NO_WEBSOCKET);
        }
        let missing_secret = |id: &crate::wire::KiteId| {
            let file = file("10_account.rc");
            let text = format!(
                "there is no secret for {id}; write kitesecret = SECRET in {file} and run \
                 chmod 600 {file}, or use --secret-file PATH"
            );
            (place.clone(), "kitesecret", text)
        };
        let kites = self.kites.finish(&short, self.environment, report, &missing_secret);
        let relays = self.relays.finish();
        let proxy = self.proxy.finish(self.environment, report);
        let text = without_tor(&relays.fixed, relays.pool.as_ref(), &proxy);
        if let (Some(text), false) = (text, unread(report, &PROXY_OPTIONS)) {
            report.mistake(self.first_relay.as_ref().unwrap_or(&place), "frontend", text);
        }
        if relays.fixed.is_empty() && relays.pool.is_none() && !unread(report, &RELAY_OPTIONS) {
            let text = format!(
                "there is no relay; write frontend = HOST:PORT, or defaults for pagekite.net, in {}",
                file("20_frontends.rc")
            );
            report.mistake(&place, "frontend", text);
        }
        if kites.is_empty() && !unread(report, &SERVICE_OPTIONS) {
            let text = format!(
                "there is no service; write service_on = http:NAME:localhost:80:SECRET in {}",
                file("80_httpd.rc")
            );
            report.mistake(&place, "service_on", text);
        }
        report.mistakes.is_empty().then_some(Settings {
            relays: relays.fixed,
            pool: relays.pool,
            dyndns: self.dyndns,
            spare_relays: self.spare_relays,
            never: relays.never,
            ignores_own_names: self.ignores_own_names,
            security: relays.security,
            proxy,
            kites,
            error_urls: relays.error_urls,
            compress: self.compress,
            websocket: self.websocket.is_some(),
            keepalive_seconds: self.keepalive_seconds,
            adapts_keepalive: self.adapts_keepalive,
            retry_seconds: self.retry_seconds,
            late_retry_seconds: self.late_retry_seconds.max(self.retry_seconds),
            max_streams: self.max_streams,
            buffer_kilobytes: self.buffer_kilobytes,
            state_directory: self
                .state_directory
                .or_else(|| named_by(self.environment, "STATE_DIRECTORY")),
            runtime_directory: self
                .runtime_directory
                .or_else(|| named_by(self.environment, "RUNTIME_DIRECTORY")),
        })
    }
}

/// What is to be done at a line; why nothing is goes to `report`.
pub(super) fn action_of<A>(
    meaning: Meaning<A>,
    line: &TypedLine,
    report: &mut Report,
) -> Option<A> {
    match meaning {
        Meaning::Handled(action) => return Some(action),
        Meaning::Harmless => {}
        Meaning::Instead(text) => {
            let text = format!("has no effect; {text}");
            report.warning(&line.place, line.row.name, text);
        }
        Meaning::Refused(text) => report.mistake(&line.place, line.row.name, text),
    }
    None
}

/// The file or folder that a missing line belongs into.
pub(super) fn write_to(sources: &[Source]) -> PathBuf {
    let named = sources.iter().find_map(|source| match source {
        Source::WriteTo(path) => Some(path),
        _ => None,
    });
    let first = sources.iter().find_map(|source| match source {
        Source::Path(path) => Some(path),
        _ => None,
    });
    named.or(first).cloned().unwrap_or_else(|| Path::new("the configuration").to_owned())
}

/// Reads a directory, which need not be there.
fn directory(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Err("is the whole path of a directory, such as /run/kitelet".into())
}

/// The directory that a service manager names in a variable: the first one,
/// where a unit has several (systemd.exec(5)).
pub(super) fn named_by(environment: &dyn Environment, variable: &str) -> Option<PathBuf> {
    let value = environment.variable(variable)?;
    directory(value.split(':').next().unwrap_or_default()).ok()
}

fn retry_seconds(value: &str) -> Result<u32, String> {
    let seconds = number(value, 1..=MAX_RETRY_SECONDS as usize, "seconds")?;
    Ok(u32::try_from(seconds).unwrap_or(MAX_RETRY_SECONDS))
}

/// Reads `keepalive`, in seconds; what is used in place of too few is told.
///
/// # Errors
/// What is wrong and the mend.
pub(super) fn keepalive(value: &str, default: u32) -> Result<(u32, Option<String>), String> {
    if value.eq_ignore_ascii_case("auto") {
        return Ok((default, None));
    }
    let seconds = value.parse::<u32>().ok();
    let seconds = seconds.filter(|seconds| *seconds <= MAX_KEEPALIVE_SECONDS);
    let seconds = seconds.ok_or_else(|| {
        format!(
            "is auto, or a number of seconds from {MIN_KEEPALIVE_SECONDS} to \
             {MAX_KEEPALIVE_SECONDS}"
        )
    })?;
    let doubt = (seconds < MIN_KEEPALIVE_SECONDS)
        .then(|| format!("{MIN_KEEPALIVE_SECONDS} seconds are the least and are used"));
    Ok((seconds.max(MIN_KEEPALIVE_SECONDS), doubt))
}

/// Reads a number within bounds.
///
/// # Errors
/// The bounds.
pub(super) fn number(
    value: &str,
    range: std::ops::RangeInclusive<usize>,
    unit: &str,
) -> Result<usize, String> {
    let plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|number| plain && range.contains(number));
    number.ok_or_else(|| format!("is a number of {unit} from {} to {}", range.start(), range.end()))
}
