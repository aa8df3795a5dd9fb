//! `kitelet relay --check`: what a relay's configuration means, without opening
//! a port.

use std::fmt::Write as _;
use std::io::Write;

use super::super::check::listed;
use super::super::{EXIT_CONFIG, EXIT_STOPPED, Outcome, bad_config, say, say_warnings};
use crate::config::*;
use crate::net::HeldCertificate;
use crate::relay;

/// Everything that has a default, for the list of what differs from it.
type Difference = (&'static str, String, String);

pub(super) fn command(
    sources: &[Source],
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    let loaded = match load_relay(sources, environment) {
        Ok(loaded) => loaded,
        Err(error) => return bad_config(errors, &error),
    };
    let (seen, mut problems) = look_at_files(&loaded.settings);
    match describe(&loaded, &seen, environment) {
        Ok(text) if problems.is_empty() => {
            say(output, &text);
            return Outcome::Exit(EXIT_STOPPED);
        }
        Ok(_) => {}
        Err(problem) => problems.push(problem.to_string()),
    }
    problems.iter().for_each(|problem| say(errors, &printable(problem)));
    say_warnings(errors, &loaded.warnings);
    Outcome::Exit(EXIT_CONFIG)
}

/// What is in a certificate; `None` when a start makes it.
type Seen = Option<HeldCertificate>;

/// Reads the files that a start reads, and makes none.
fn look_at_files(settings: &RelaySettings) -> (Vec<Seen>, Vec<String>) {
    let (mut seen, mut problems) = (Vec::new(), Vec::new());
    for files in &settings.certificates {
        if settings.self_sign && !files.path.exists() {
            seen.push(None);
            continue;
        }
        match relay::look_at_certificate(files) {
            Ok(held) => seen.push(held),
            Err(error) => problems.push(error.to_string()),
        }
    }
    problems.extend(relay::check_texts(settings));
    (seen, problems)
}

/// A relay's configuration in words, with the kites of its file counted.
/// Certificates are named and not opened.
///
/// # Errors
/// The kites file cannot be read.
pub fn describe_relay(
    loaded: &LoadedRelay,
    environment: &dyn Environment,
) -> Result<String, Problem> {
    describe(loaded, &[], environment)
}

fn describe(
    loaded: &LoadedRelay,
    seen: &[Seen],
    environment: &dyn Environment,
) -> Result<String, Problem> {
    let settings = &loaded.settings;
    let mut text = String::new();
    ports(&mut text, settings);
    let doubts = certificates(&mut text, settings, seen);
    let problems = kites(&mut text, settings, environment)?;
    text.push_str("\nWho is let in\n");
    for (whom, list) in [("visitors", &settings.visitor_rules), ("agents", &settings.tunnel_rules)]
    {
        let _ = writeln!(text, "  {whom}: {}", rules(list));
    }
    differences(&mut text, settings);
    let mut warnings = vec![&loaded.warnings];
    warnings.extend(problems.as_ref());
    warnings.retain(|warnings| !warnings.is_empty());
    let told: usize = warnings.iter().map(|warnings| warnings.total()).sum();
    match told + doubts.len() {
        0 => text.push_str("\nThe configuration can be used."),
        total => {
            let _ = write!(text, "\nThe configuration can be used. Warnings: {total}");
        }
    }
    for warnings in warnings {
        let _ = write!(text, "\n{warnings}");
    }
    for doubt in doubts {
        let _ = write!(text, "\n{doubt}");
    }
    Ok(text)
}

fn ports(text: &mut String, settings: &RelaySettings) {
    let hosts: Vec<String> = settings.hosts.iter().map(ToString::to_string).collect();
    let hosts = if hosts.is_empty() { "every address".to_owned() } else { hosts.join(", ") };
    let _ = writeln!(text, "Listens on\n  {hosts}, {}", numbers(&settings.ports));
    for (from, to) in &settings.port_aliases {
        let _ = writeln!(text, "  port {from} is told to agents as {to}");
    }
    let raw = &settings.raw_ports;
    if raw.any {
        text.push_str("  raw kites on any port, by HTTP CONNECT\n");
    } else if !raw.connect.is_empty() {
        let _ = writeln!(text, "  raw kites on {}, by HTTP CONNECT", numbers(&raw.connect));
    }
    for (port, kite) in &raw.dedicated {
        let _ = writeln!(text, "  port {port}, for {kite} alone");
    }
    let _ = writeln!(text, "  protocols: {}", settings.protocols.join(", "));
}

fn numbers(ports: &[u16]) -> String {
    let words: Vec<String> = ports.iter().map(ToString::to_string).collect();
    format!("port{} {}", if ports.len() == 1 { "" } else { "s" }, words.join(", "))
}

/// The certificates, and what visitors will complain about.
fn certificates(text: &mut String, settings: &RelaySettings, seen: &[Seen]) -> Vec<String> {
    text.push_str("\nCertificates\n");
    let mut doubts = Vec::new();
    for (index, certificate) in settings.certificates.iter().enumerate() {
        let path = printable(&certificate.path.display().to_string());
        let _ = writeln!(text, "  {}  {path}", certificate.name);
        match seen.get(index) {
            Some(Some(held)) => {
                let _ = writeln!(text, "    pin {}", held.pin);
                doubts.extend(held.warnings.iter().map(|doubt| format!("{path}: {doubt}")));
            }
            Some(None) => text.push_str("    is made when the relay starts\n"),
            None => {}
        }
    }
    match &settings.default_certificate {
        Some(name) => {
            let _ = writeln!(text, "  who asks for no name gets {name}");
        }
        None => text.push_str("  none: tunnels go in clear\n"),
    }
    doubts
}

fn kites(
    text: &mut String,
    settings: &RelaySettings,
    environment: &dyn Environment,
) -> Result<Option<Problems>, Problem> {
    text.push_str("\nKites that may fly\n");
    let mut problems = None;
    if let Some(path) = &settings.kites_file {
        let (grants, told) = load_kites(path, &settings.protocols, environment)?;
        let own = grants.iter().filter(|grant| grant.quota != KiteQuota::default()).count();
        let quotas =
            if own > 0 { format!(", {own} with a quota of their own") } else { String::new() };
        let path = printable(&path.display().to_string());
        let _ = writeln!(text, "  {} of {path}{quotas}", grants.len());
        problems = Some(told);
    }
    if !settings.grants.is_empty() {
        let names: Vec<String> = settings.grants.iter().map(|grant| grant.domain.clone()).collect();
        let _ = writeln!(text, "  {} by domain lines: {}", names.len(), listed(&names));
    }
    for authority in &settings.authorities {
        let whose = match authority.kite_domain.as_str() {
            "" => "any other".to_owned(),
            domain => format!("others below {domain}"),
        };
        let _ = match &authority.means {
            AuthorityMeans::Dns(suffix) => writeln!(text, "  {whose}, as DNS below {suffix} says"),
            AuthorityMeans::Program { path, .. } => {
                let path = printable(&path.display().to_string());
                writeln!(text, "  {whose}, as {path} says")
            }
        };
    }
    let _ = writeln!(text, "  quota of each: {}", quota(&settings.limits.quota));
    Ok(problems)
}

fn quota(quota: &KiteQuota) -> String {
    let words = [
        quota.bytes_per_day.map(|count| format!("{} bytes a day", bytes(count))),
        quota.connections_per_day.map(|count| format!("{count} connections a day")),
        quota.streams.map(|count| format!("{count} visitors at the same time")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// A number of bytes as it may be written in a file.
fn bytes(count: u64) -> String {
    let units = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    let whole = units.into_iter().find(|(_, shift)| count % (1u64 << shift) == 0);
    whole.map_or(count.to_string(), |(unit, shift)| format!("{}{unit}", count >> shift))
}

fn rules(rules: &[AccessRule]) -> String {
    if rules.is_empty() {
        return "everybody".to_owned();
    }
    let words: Vec<String> = rules
        .iter()
        .map(|rule| {
            let policy = if rule.allow { "allow" } else { "deny" };
            let whom = rule.range.map_or("any".to_owned(), |range| range.to_string());
            format!("{policy} {whom}")
        })
        .collect();
    // Behind a rule for everybody nothing more comes.
    let rest = if rules.iter().any(|rule| rule.range.is_none()) { "" } else { ", else deny" };
    format!("{}{rest}", listed(&words))
}

/// The options that are not as they are without a line.
fn differences(text: &mut String, settings: &RelaySettings) {
    let limits = &settings.limits;
    let number = |name: &'static str, value: usize, default: usize| -> Difference {
        (name, value.to_string(), default.to_string())
    };
    let word = |name: &'static str, value: Option<String>| -> Difference {
        (name, value.unwrap_or_else(|| "none".into()), "none".into())
    };
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| printable(&path.display().to_string()))
    };
    let switch = |name: &'static str, on: bool| -> Difference {
        (name, if on { "on" } else { "off" }.into(), "off".into())
    };
    let log = settings.access_log.as_ref().map(|log| {
        let target = path(&log.path).unwrap_or_else(|| "standard output".into());
        match log.format {
            AccessLogFormat::Common => target,
            AccessLogFormat::Json => format!("{target} as JSON"),
        }
    });
    let seconds = |seconds: u32| usize::try_from(seconds).unwrap_or(usize::MAX);
    let all = [
        number("max_visitors", limits.max_visitors, DEFAULT_MAX_VISITORS),
        number("max_tunnels", limits.max_tunnels, DEFAULT_MAX_TUNNELS),
        number("max_kites", limits.max_kites, DEFAULT_MAX_KITES),
        number("max_streams", limits.max_streams, DEFAULT_MAX_STREAMS),
        number("max_connections", limits.max_connections, DEFAULT_MAX_CONNECTIONS),
        word("ratelimit_conns", limits.connection_rate.map(|rate| rate.to_string())),
        word("ratelimit_ips", limits.address_rate.map(|rate| rate.to_string())),
        ("ratelimit_auth", limits.failure_rate.to_string(), DEFAULT_RATELIMIT_AUTH.to_string()),
        number("auththreads", settings.max_questions, DEFAULT_AUTHTHREADS),
        word("nameserver", settings.name_server.map(|server| server.to_string())),
        number("buffers", settings.buffer_kilobytes, DEFAULT_RELAY_BUFFER_KILOBYTES),
        number(
            "keepalive",
            seconds(settings.keepalive_seconds),
            seconds(DEFAULT_RELAY_KEEPALIVE_SECONDS),
        ),
        number("stop_timeout", seconds(settings.stop_seconds), seconds(DEFAULT_STOP_SECONDS)),
        switch("zchunks", settings.compress),
        switch("reveal_kites", settings.reveal_kites),
        word("acme_webroot", path(&settings.acme_webroot)),
        word("motd", path(&settings.motd)),
        word("errorpage", path(&settings.error_page)),
        word("access_log", log),
        word("runas", settings.run_as.clone()),
        word("chroot", path(&settings.chroot)),
    ];
    let mut all: Vec<Difference> =
        all.into_iter().filter(|(_, now, default)| now != default).collect();
    for (domain, url) in &settings.error_urls {
        let name = if domain.is_empty() { url.clone() } else { format!("{domain}:{url}") };
        all.push(("errorurl", name, "none".into()));
    }
    if !all.is_empty() {
        text.push_str("\nUnlike the defaults\n");
    }
    for (name, now, default) in all {
        let _ = writeln!(text, "  {name} = {now} (without a line: {default})");
    }
}
