//! From typed lines to [`RelaySettings`]: what each option does in a relay, and
//! what has to be there in the end.

use std::path::PathBuf;

use super::super::environment::Environment;
use super::super::error_url::ErrorUrls;
use super::super::grammar::TypedLine;
use super::super::options::{RelayAction, Role};
use super::super::problem::{Place, Report};
use super::super::relay_settings::{
    AccessLog, AccessLogFormat, AccessRule, AuthorityMeans, RelaySettings,
};
use super::super::resolve::{action_of, write_to};
use super::super::source::Source;
use super::access::add_rule;
use super::authority::AuthorityLines;
use super::certificates::CertificateLines;
use super::files::{file_of, folder_of, must_be_file, new_file_of, path_of, user};
use super::grants::GrantLines;
use super::kites_file::MISSING;
use super::limits::LimitLines;
use super::ports::PortLines;
use super::table::OwnAction;

/// The kites file of a folder of rc files, when no line names another.
const KITES_FILE: &str = "kites";
/// Options that say which kites may fly, or files where one may be named.
const KITE_OPTIONS: [&str; 6] = ["", "optfile", "optdir", "kites", "domain", "authdomain"];
/// The same for certificates.
const CERTIFICATE_OPTIONS: [&str; 4] = ["", "optfile", "optdir", "tls_endpoint"];

/// What the configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To run a relay.
    Run,
    /// To add a kite to the kites file.
    Add,
}

/// Understands every line; `None` when `report` holds mistakes.
pub(super) fn resolve(
    lines: Vec<TypedLine>,
    sources: &[Source],
    purpose: Purpose,
    environment: &dyn Environment,
    report: &mut Report,
) -> Option<RelaySettings> {
    let mut resolver = Resolver {
        environment,
        report,
        ports: PortLines::default(),
        kites_file: None,
        grants: GrantLines::default(),
        authorities: AuthorityLines::default(),
        certificates: CertificateLines::default(),
        limits: LimitLines::default(),
        error_urls: ErrorUrls::default(),
        acme_webroot: None,
        visitor_rules: Vec::new(),
        tunnel_rules: Vec::new(),
        last_rules: [None, None],
        error_page: None,
        reveal_kites: false,
        motd: None,
        access_log: None,
        access_log_format: AccessLogFormat::default(),
        run_as: None,
        chroot: None,
    };
    for line in lines {
        resolver.line(&line);
    }
    resolver.finish(sources, purpose)
}

struct Resolver<'a> {
    environment: &'a dyn Environment,
    report: &'a mut Report,
    ports: PortLines,
    /// With the line that names it.
    kites_file: Option<(PathBuf, Place)>,
    grants: GrantLines,
    authorities: AuthorityLines,
    certificates: CertificateLines,
    limits: LimitLines,
    error_urls: ErrorUrls,
    acme_webroot: Option<PathBuf>,
    visitor_rules: Vec<AccessRule>,
    tunnel_rules: Vec<AccessRule>,
    /// Where the last rule for visitors and for agents stands.
    last_rules: [Option<Place>; 2],
    error_page: Option<PathBuf>,
    reveal_kites: bool,
    motd: Option<PathBuf>,
    /// The file, or `None` for standard output.
    access_log: Option<Option<PathBuf>>,
    access_log_format: AccessLogFormat,
    run_as: Option<String>,
    /// With the line that names it.
    chroot: Option<(PathBuf, Place)>,
}

impl Resolver<'_> {
    fn line(&mut self, line: &TypedLine) {
        let Some(action) = action_of(line.row.relay, line, self.report) else { return };
        if let Err(text) = self.act(action, line) {
            self.report.mistake(&line.place, line.row.name, text);
        }
    }

    fn act(&mut self, action: RelayAction, line: &TypedLine) -> Result<(), String> {
        let value = line.value.as_str();
        if let Some(done) = self.limits.set(action, value) {
            let doubt = done?;
            doubt.iter().for_each(|doubt| self.report.warning(&line.place, line.row.name, doubt));
            return Ok(());
        }
        match action {
            RelayAction::Host => self.ports.add_host(line),
            RelayAction::Ports => self.ports.set_ports(value),
            RelayAction::PortAlias => self.ports.add_alias(line),
            RelayAction::Protocols => self.ports.set_protocols(value),
            RelayAction::RawPorts => self.ports.set_raw(line, self.report),
            RelayAction::Domain => self.grants.add(line, self.report),
            RelayAction::AuthDomain => self.authorities.add(line, self.environment),
            RelayAction::AuthThreads => self.authorities.set_threads(value),
            RelayAction::TlsEndpoint => self.certificates.add(line, self.environment, self.report),
            RelayAction::TlsDefault => self.certificates.set_default(line),
            RelayAction::SelfSign => {
                self.certificates.set_self_sign();
                Ok(())
            }
            RelayAction::VisitorRule => {
                self.last_rules[0] = Some(line.place.clone());
                add_rule(value, &mut self.visitor_rules)
            }
            RelayAction::TunnelRule => {
                self.last_rules[1] = Some(line.place.clone());
                add_rule(value, &mut self.tunnel_rules)
            }
            RelayAction::MessageOfTheDay => {
                self.motd = file_of(line, self.environment)?;
                Ok(())
            }
            RelayAction::ErrorUrl => self.error_urls.set(value),
            RelayAction::RunAs => {
                self.run_as = user(value)?;
                Ok(())
            }
            RelayAction::Own(action) => self.act_own(action, line),
            // Limits, which were set above.
            RelayAction::AddressRate
            | RelayAction::Compress(_)
            | RelayAction::Buffers
            | RelayAction::KeepAlive
            | RelayAction::MaxStreams => Ok(()),
        }
    }

    fn act_own(&mut self, action: OwnAction, line: &TypedLine) -> Result<(), String> {
        let environment = self.environment;
        let placed = |path: PathBuf| (path, line.place.clone());
        match action {
            OwnAction::Kites => self.kites_file = path_of(line, environment).map(placed),
            OwnAction::NameServer => self.authorities.set_name_server(&line.value)?,
            OwnAction::AcmeWebroot => self.acme_webroot = folder_of(line, environment)?,
            OwnAction::ErrorPage => self.error_page = file_of(line, environment)?,
            OwnAction::RevealKites => self.reveal_kites = true,
            OwnAction::AccessLog => {
                self.access_log = match line.value.as_str() {
                    "-" => Some(None),
                    _ => new_file_of(line, environment)?.map(Some),
                };
            }
            OwnAction::AccessLogFormat => {
                self.access_log_format = match line.value.to_ascii_lowercase().as_str() {
                    "common" => AccessLogFormat::Common,
                    "json" => AccessLogFormat::Json,
                    _ => return Err("is common or json".into()),
                };
            }
            OwnAction::Chroot => self.chroot = folder_of(line, environment)?.map(placed),
            // Limits, which were set before.
            OwnAction::StopTimeout
            | OwnAction::MaxVisitors
            | OwnAction::MaxTunnels
            | OwnAction::MaxKites
            | OwnAction::MaxConnections
            | OwnAction::ConnectionRate
            | OwnAction::FailureRate
            | OwnAction::QuotaBytes
            | OwnAction::QuotaConnections
            | OwnAction::QuotaStreams => {}
        }
        Ok(())
    }

    fn finish(mut self, sources: &[Source], purpose: Purpose) -> Option<RelaySettings> {
        let write_to = write_to(sources);
        let kites_file = self.kites_file(sources, purpose);
        self.rules_let_in_somebody();
        self.programs_can_be_reached();
        let report = self.report;
        // The default folder, when it is not there yet.
        let to_make = sources.iter().any(|source| matches!(source, Source::WriteTo(_)));
        let is_folder = self.environment.is_folder(&write_to).unwrap_or(to_make);
        let file =
            if is_folder { write_to.join(Role::Relay.first_file()) } else { write_to.clone() };
        let place = Place::path(&write_to);
        let ports = self.ports.finish(report);
        let grants = self.grants.finish(&ports.protocols, report);
        let self_sign = self.certificates.self_sign();
        let (certificates, default_certificate) = self.certificates.finish(report);
        // What is missing may stand in a line or file that was not understood.
        let unread = |report: &Report, options: &[&str]| {
            let mut mistakes = report.mistakes.iter();
            mistakes.any(|mistake| options.contains(&mistake.option.as_str()))
        };
        let nobody =
            kites_file.is_none() && grants.is_empty() && self.authorities.authorities.is_empty();
        if nobody && purpose == Purpose::Run && !unread(report, &KITE_OPTIONS) {
            let text = format!(
                "no kite may fly; run kitelet relay add NAME, or write kites = FILE in {}",
                file.display()
            );
            report.mistake(&place, "kites", text);
        }
        if certificates.is_empty() && !unread(report, &CERTIFICATE_OPTIONS) {
            let text = format!(
                "there is no certificate, so tunnels go in clear and agents need nossl; write \
                 tls_endpoint = NAME:FILE in {}",
                file.display()
            );
            report.warning(&place, "tls_endpoint", text);
        }
        report.mistakes.is_empty().then_some(RelaySettings {
            hosts: ports.hosts,
            ports: ports.ports,
            port_aliases: ports.aliases,
            protocols: ports.protocols,
            raw_ports: ports.raw,
            kites_file,
            grants,
            authorities: self.authorities.authorities,
            max_questions: self.authorities.max_questions,
            name_server: self.authorities.name_server,
            certificates,
            default_certificate,
            self_sign,
            acme_webroot: self.acme_webroot,
            visitor_rules: self.visitor_rules,
            tunnel_rules: self.tunnel_rules,
            limits: self.limits.limits,
            error_page: self.error_page,
            error_urls: self.error_urls.finish(),
            reveal_kites: self.reveal_kites,
            motd: self.motd,
            access_log: self
                .access_log
                .map(|path| AccessLog { path, format: self.access_log_format }),
            run_as: self.run_as,
            chroot: self.chroot.map(|(path, _)| path),
            keepalive_seconds: self.limits.keepalive_seconds,
            buffer_kilobytes: self.limits.buffer_kilobytes,
            compress: self.limits.compress,
            stop_seconds: self.limits.stop_seconds,
        })
    }

    /// The kites file: the one that a line names, or else the file `kites` in
    /// the folder of the rc files.
    fn kites_file(&mut self, sources: &[Source], purpose: Purpose) -> Option<PathBuf> {
        if let Some((path, place)) = self.kites_file.take() {
            let there = self.environment.is_folder(&path);
            let missing = there.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
            if missing && purpose == Purpose::Run {
                let text = format!("{} {MISSING}", path.display());
                self.report.mistake(&place, "kites", text);
            } else if !missing {
                if let Err(text) = must_be_file(&path, self.environment) {
                    self.report.mistake(&place, "kites", text);
                }
            }
            return Some(path);
        }
        let folder = sources.iter().find_map(|source| match source {
            Source::Path(path) if self.environment.is_folder(path).unwrap_or(false) => Some(path),
            Source::WriteTo(path) if purpose == Purpose::Add => Some(path),
            _ => None,
        })?;
        let path = folder.join(KITES_FILE);
        let there = matches!(self.environment.is_folder(&path), Ok(false));
        (there || purpose == Purpose::Add).then_some(path)
    }

    /// Whom no rule fits stays out (features H), so a list without `allow`
    /// keeps out everybody.
    fn rules_let_in_somebody(&mut self) {
        let lists = [("client_acl", &self.visitor_rules), ("tunnel_acl", &self.tunnel_rules)];
        for ((option, rules), place) in lists.into_iter().zip(&self.last_rules) {
            let nobody = !rules.is_empty() && rules.iter().all(|rule| !rule.allow);
            if let Some(place) = place.as_ref().filter(|_| nobody) {
                let text = format!(
                    "lets in nobody, since whom no line fits stays out; write {option} = allow:any \
                     as the last one"
                );
                self.report.warning(place, option, text);
            }
        }
    }

    /// Inside another root, programs of this one cannot be started.
    fn programs_can_be_reached(&mut self) {
        let Some((_, place)) = &self.chroot else {
            return;
        };
        let mut means = self.authorities.authorities.iter().map(|authority| &authority.means);
        if means.any(|means| matches!(means, AuthorityMeans::Program { .. })) {
            let text = "the program of authdomain cannot be started from inside there; remove one \
                 of the two lines";
            self.report.mistake(place, "chroot", text);
        }
    }
}
