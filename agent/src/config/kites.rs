//! The lines about kites and services, and what comes of them: which kite has
//! which service, secret, name and flags.

use litemap::LiteMap;

use super::environment::Environment;
use super::flags::{PORT_OF_NONE, flag_line, holds_secret, set_flag};
use super::grammar::TypedLine;
use super::kite_flags::{Flag, apply};
use super::problem::{Place, Report, quoted};
use super::secrets::{Credentials, read_secret_file, warn_exposed, without_remark};
use super::service::{service_line, service_name};
use super::settings::{KiteFlags, KiteSettings, Origin};
use super::short::ShortKite;
use super::source::resolve_path;
use crate::wire::{KiteId, Secret};

/// Most kites of a configuration.
pub const MAX_KITES: usize = 1024;

/// The lines so far. Not `Debug`: flags may hold passwords.
#[derive(Default)]
pub(super) struct KiteLines {
    kitename: Option<String>,
    kitesecret: Option<Secret>,
    /// `--secret-file`, which goes before every secret of a file.
    command_line_secret: Option<Secret>,
    services: Vec<Service>,
    by_id: LiteMap<KiteId, Place>,
    /// Which services came with the last service line.
    last_line: std::ops::Range<usize>,
    flags: Vec<Flag>,
    insecure: bool,
}

struct Service {
    id: KiteId,
    place: Place,
    option: &'static str,
    on: bool,
    origin: Origin,
    name: Option<String>,
    /// The secret that stands in the line itself.
    inline: Option<Secret>,
    /// The `kitesecret` that was set when the line came.
    so_far: Option<Secret>,
}

impl KiteLines {
    /// `kitename = NAME`.
    pub(super) fn set_name(&mut self, value: &str) -> Result<(), String> {
        if value.is_empty() {
            self.kitename = None;
            return Ok(());
        }
        let id = KiteId::new("http", None, value).map_err(|error| error.to_string())?;
        self.kitename = Some(id.domain().to_owned());
        Ok(())
    }

    /// `kitesecret = SECRET`.
    pub(super) fn set_secret(
        &mut self,
        line: &TypedLine,
        report: &mut Report,
    ) -> Result<(), String> {
        let value = line.value.as_str();
        without_remark(value)?;
        self.kitesecret = (!value.is_empty()).then(|| Secret::new(value.as_bytes()));
        if self.kitesecret.is_some() && line.exposed {
            warn_exposed(&line.place, report);
        }
        Ok(())
    }

    /// `kitesecret_file = PATH`.
    pub(super) fn set_secret_file(
        &mut self,
        line: &TypedLine,
        environment: &dyn Environment,
        report: &mut Report,
    ) -> Result<(), String> {
        let path = resolve_path(&line.place, &line.value, environment);
        let secret = read_secret_file(&path, environment, report)?;
        match line.place.file() {
            Some(_) => self.kitesecret = Some(secret),
            None => self.command_line_secret = Some(secret),
        }
        Ok(())
    }

    /// `insecure`.
    pub(super) fn set_insecure(&mut self) {
        self.insecure = true;
    }

    /// `service_on` and `service_off`.
    pub(super) fn add_service(
        &mut self,
        line: &TypedLine,
        on: bool,
        report: &mut Report,
    ) -> Result<(), String> {
        let mut notes = Vec::new();
        let service = service_line(&line.value, &mut notes)?;
        for note in notes {
            report.warning(&line.place, line.row.name, note);
        }
        without_remark(service.secret)?;
        let domain = self.with_name(service.kite)?;
        let inline = match service.secret {
            "" | "@kitesecret" => None,
            secret => Some(Secret::new(secret.as_bytes())),
        };
        if inline.is_some() && line.exposed {
            warn_exposed(&line.place, report);
        }
        let first = self.services.len();
        for protocol in service.protocols {
            let id = protocol.kite(&domain)?;
            if let Some(earlier) = self.by_id.get(&id) {
                return Err(format!("{id} stands at {earlier} already; remove one of them"));
            }
            if self.services.len() >= MAX_KITES {
                return Err(format!("more than {MAX_KITES} kites; remove some"));
            }
            self.by_id.insert(id.clone(), line.place.clone());
            self.services.push(Service {
                id,
                place: line.place.clone(),
                option: line.row.name,
                on,
                origin: service.origin.clone(),
                name: None,
                inline: inline.clone(),
                so_far: self.kitesecret.clone(),
            });
        }
        self.last_line = first..self.services.len();
        if on {
            // The first service supplies the default kite (features A).
            self.kitename.get_or_insert(domain);
            if self.kitesecret.is_none() {
                self.kitesecret = inline;
            }
        }
        Ok(())
    }

    /// `service_name = NAME`, for the service line before it.
    pub(super) fn name_service(&mut self, value: &str) -> Result<(), String> {
        let name = service_name(value)?;
        if self.last_line.is_empty() {
            return Err("no service_on stands above; write service_name below its service".into());
        }
        if let Some(service) = self.services.iter().find(|s| s.name.as_ref() == Some(&name)) {
            return Err(format!("{name} is the name of {} already; write another", service.id));
        }
        for service in &mut self.services[self.last_line.clone()] {
            if let Some(first) = &service.name {
                return Err(format!("this service is named {first} already; remove one"));
            }
            service.name = Some(name.clone());
        }
        Ok(())
    }

    /// `service_cfg = NAME/PORT : KEY : VALUE`.
    pub(super) fn add_flag(&mut self, line: &TypedLine, report: &mut Report) -> Result<(), String> {
        let flag = flag_line(&line.value)?;
        let domain = self.with_name(flag.domain)?.to_ascii_lowercase();
        if let Some(doubt) = set_flag(&mut KiteFlags::default(), flag.key, flag.value)? {
            report.warning(&line.place, line.row.name, doubt);
        }
        if holds_secret(flag.key) && line.exposed {
            warn_exposed(&line.place, report);
        }
        self.flags.push(Flag {
            place: line.place.clone(),
            option: line.row.name,
            domain,
            port: flag.port,
            key: flag.key.to_owned(),
            value: flag.value.to_owned(),
        });
        Ok(())
    }

    /// The kites to fly: those of the files, or those of the short form.
    pub(super) fn finish(
        mut self,
        short: &[ShortKite],
        environment: &dyn Environment,
        report: &mut Report,
        missing_secret: &dyn Fn(&KiteId) -> (Place, &'static str, String),
    ) -> Vec<KiteSettings> {
        if !short.is_empty() {
            self.take_short(short, report);
        }
        let credentials = Credentials::new(environment);
        let services = std::mem::take(&mut self.services);
        let (on, off): (Vec<_>, Vec<_>) = services.into_iter().partition(|service| service.on);
        let mut kites = Vec::new();
        for service in &on {
            let Some(secret) = self.secret(service, &credentials, report) else {
                let (place, option, text) = if service.place.file().is_some() {
                    let text = format!(
                        "there is no secret for {}; write it behind the port, or kitesecret = \
                         SECRET in a line above",
                        service.id
                    );
                    (service.place.clone(), service.option, text)
                } else {
                    missing_secret(&service.id)
                };
                report.mistake(&place, option, text);
                continue;
            };
            kites.push(KiteSettings {
                id: service.id.clone(),
                secret,
                origin: service.origin.clone(),
                name: service.name.clone(),
                flags: KiteFlags { insecure: self.insecure, ..KiteFlags::default() },
            });
        }
        let known = |flag: &Flag| {
            let mut services = on.iter().chain(&off);
            services.any(|service| flag.is_for(&service.id))
        };
        for flag in &self.flags {
            if known(flag) {
                apply(flag, self.insecure, &mut kites, report);
            } else if short.is_empty() {
                let text = format!(
                    "no service_on is for {}/{}, so this line has no effect; mend the name or \
                     remove the line",
                    quoted(&flag.domain),
                    flag.port
                );
                report.warning(&flag.place, flag.option, text);
            }
        }
        kites
    }

    /// Puts the kites of the command line in place of those of the files, whose
    /// secrets and flags they keep.
    fn take_short(&mut self, short: &[ShortKite], report: &mut Report) {
        let place = Place::command_line();
        let files = std::mem::take(&mut self.services);
        let mut flags = Vec::new();
        self.by_id.clear();
        for kite in short {
            for note in &kite.notes {
                report.warning(&place, "", note.clone());
            }
            for protocol in &kite.protocols {
                let id = self.with_name(&kite.domain);
                let id = match id.and_then(|domain| protocol.kite(&domain)) {
                    Ok(id) => id,
                    Err(text) => {
                        report.mistake(&place, "", text);
                        continue;
                    }
                };
                if self.by_id.insert(id.clone(), place.clone()).is_some() {
                    let text = format!("{id} stands there twice; remove one of them");
                    report.mistake(&place, "", text);
                    continue;
                }
                for (key, value) in &kite.flags {
                    match set_flag(&mut KiteFlags::default(), key, value) {
                        Ok(None) => {}
                        Ok(Some(doubt)) => report.warning(&place, "", doubt),
                        Err(text) => {
                            report.mistake(&place, "", format!("+{}: {text}", quoted(key)))
                        }
                    }
                    flags.push(Flag {
                        place: place.clone(),
                        option: "",
                        domain: id.domain().to_owned(),
                        port: id.port().unwrap_or(PORT_OF_NONE),
                        key: key.clone(),
                        value: value.clone(),
                    });
                }
                let same_name = |service: &&Service| service.id.domain() == id.domain();
                let known =
                    files.iter().filter(same_name).find_map(|service| service.inline.clone());
                self.services.push(Service {
                    id,
                    place: place.clone(),
                    option: "",
                    on: true,
                    origin: kite.origin.clone(),
                    name: None,
                    inline: self.command_line_secret.clone().or(known),
                    so_far: self.kitesecret.clone(),
                });
            }
        }
        let replaced = |flag: &Flag| {
            let same = |new: &Flag| new.domain == flag.domain && new.port == flag.port;
            flags.iter().any(same)
        };
        self.flags.retain(|flag| !replaced(flag));
        self.flags.append(&mut flags);
    }

    /// The secret of a service: its own, the credential of its kite, the
    /// `kitesecret` above it, the last `kitesecret`, the general credential.
    fn secret(
        &self,
        service: &Service,
        credentials: &Credentials<'_>,
        report: &mut Report,
    ) -> Option<Secret> {
        let inline = service.inline.clone();
        inline
            .or_else(|| credentials.of_kite(service.id.domain(), report))
            .or_else(|| service.so_far.clone())
            .or_else(|| self.kitesecret.clone())
            .or_else(|| credentials.of_all(report))
    }

    /// Puts the default kite in place of `@kitename`.
    fn with_name(&self, text: &str) -> Result<String, String> {
        if !text.contains("@kitename") {
            return Ok(text.to_owned());
        }
        match &self.kitename {
            Some(name) => Ok(text.replace("@kitename", name)),
            None => Err("@kitename is not set yet; write kitename = NAME in a line above".into()),
        }
    }
}
