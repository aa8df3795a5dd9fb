//! `kitelet relay add NAME`: a secret for a new kite, its line in the kites
//! file, and the lines for the device. Standard output carries the latter only,
//! so that it can be put into a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};

use super::super::{EXIT_CANNOT_WRITE, EXIT_CONFIG, EXIT_STOPPED, EXIT_USAGE, Outcome};
use super::super::{bad_config, say, say_warnings, usage};
use super::append::KitesFile;
use super::secret::new_secret;
use super::{AddArguments, DEFAULT_RELAY_CONFIG, device};
use crate::config::{
    Environment, Grant, RelaySettings, Source, load_relay_without_kites, printable, read_kites,
};
use crate::relay::self_signed;

/// What a kite may be without a word about it.
const DEFAULT_PROTOCOLS: &str = "http,https,websocket,raw";
/// Stands for the secret while the rest of a line is looked at.
const NO_SECRET: &str = "not-yet-drawn";

pub(super) fn command(
    arguments: &AddArguments,
    sources: &[Source],
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    let loaded = match load_relay_without_kites(sources, environment) {
        Ok(loaded) => loaded,
        Err(error) => return bad_config(errors, &error),
    };
    let settings = &loaded.settings;
    let grant = match grant(arguments, settings) {
        Ok(grant) => grant,
        Err(text) => return usage(errors, &text),
    };
    let Some(path) = arguments.kites.as_ref().or(settings.kites_file.as_ref()) else {
        let text = "the configuration names no kites file; write kites = FILE in it, or use \
             --kites FILE";
        return refuse(errors, EXIT_CONFIG, text);
    };
    // The file is compared with that of the configuration, and told.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let random = SystemRandom::new();
    let Some(secret) = new_secret(|bytes| random.fill(bytes).ok()) else {
        return refuse(errors, EXIT_CANNOT_WRITE, "this machine gives no random numbers");
    };
    let line = format!("{}:{secret}", head(&grant));
    let added = match add(&path, &grant.domain, &line, arguments.again) {
        Ok(added) => added,
        Err(Refusal::Exists(number)) => {
            let text = format!(
                "{} has a secret in {}:{number} already; kitelet relay add {} --again adds a \
                 second one",
                grant.domain,
                path.display(),
                grant.domain
            );
            return refuse(errors, EXIT_USAGE, &text);
        }
        Err(Refusal::Failed(error)) => {
            let text = format!("nothing is added: {} cannot be written ({error})", path.display());
            return refuse(errors, EXIT_CANNOT_WRITE, &text);
        }
    };
    say_warnings(errors, &loaded.warnings);
    if let Err(text) = self_signed::make_missing(settings) {
        say(errors, &format!("kitelet: {text}"));
    }
    let pin = self_signed::default_pin(settings);
    if let Some(folder) = folder_without_files(sources, environment) {
        say(output, &write_files_first(folder));
    }
    say(output, &device::lines(settings, pin.as_deref(), &grant, &secret));
    tell(&added, &path, &grant.domain, settings, errors);
    Outcome::Exit(EXIT_STOPPED)
}

/// Where the rc file is to be written that tells what the relay is; `None` when
/// there is one.
fn folder_without_files<'a>(
    sources: &'a [Source],
    environment: &dyn Environment,
) -> Option<&'a Path> {
    let empty = |source: &'a Source| match source {
        Source::WriteTo(path) => Some(path.as_path()),
        Source::Path(path) => {
            let names = environment.rc_files(path, 0).ok()?;
            names.is_empty().then_some(path.as_path())
        }
        _ => None,
    };
    let folders: Option<Vec<&Path>> = sources.iter().map(empty).collect();
    folders?.first().copied()
}

/// On top of the lines for a device whose relay has no rc file.
fn write_files_first(folder: &Path) -> String {
    let file = printable(&folder.join("10_relay.rc").display().to_string());
    format!(
        "# ATTENTION: the relay has no configuration file yet, so nobody knows its name\n\
         # and its certificate, and these lines go without TLS. At the relay, write\n\
         # {file} with a line such as\n\
         #   tls_endpoint = relay.example.com:/etc/letsencrypt/live/relay.example.com\n\
         # and run this command once more, with --again."
    )
}

/// What was found while a line was added.
#[derive(Debug)]
struct Added {
    world_readable: bool,
    /// The lines that the name had already.
    earlier: Vec<usize>,
}

/// Why no line was added.
#[derive(Debug)]
enum Refusal {
    /// The name has a secret on this line.
    Exists(usize),
    Failed(io::Error),
}

fn add(path: &Path, name: &str, line: &str, again: bool) -> Result<Added, Refusal> {
    let default = Path::new(DEFAULT_RELAY_CONFIG);
    if path.parent() == Some(default) && !default.exists() {
        std::fs::create_dir(default).map_err(Refusal::Failed)?;
    }
    let mut file = KitesFile::open(path).map_err(Refusal::Failed)?;
    let earlier = file.lines_of(name);
    match earlier.first() {
        Some(&first) if !again => return Err(Refusal::Exists(first)),
        _ => file.append(line).map_err(Refusal::Failed)?,
    }
    Ok(Added { world_readable: file.world_readable, earlier })
}

/// The kite that is meant, with a secret that is none yet.
fn grant(arguments: &AddArguments, settings: &RelaySettings) -> Result<Grant, String> {
    let name = arguments.name.as_str();
    if !name.contains('.') && name != "unknown" {
        return Err("the name of a kite has a dot, such as box.kites.example.com".into());
    }
    let list = arguments.protocols.as_deref().unwrap_or(DEFAULT_PROTOCOLS);
    let blank = |text: &str| text.contains(|c: char| c.is_whitespace() || c == ':' || c == '#');
    if blank(name) || blank(list) {
        return Err(
            "write: kitelet relay add NAME PROTOCOLS, such as box.example.com http,raw-22".into()
        );
    }
    let offered = &settings.protocols;
    // Those of the default that the relay does not have are not missed.
    let list: Vec<&str> = list
        .split(',')
        .filter(|word| arguments.protocols.is_some() || offered.iter().any(|known| known == word))
        .collect();
    let line = format!("{}:{name}:{NO_SECRET}", list.join(","));
    let (mut grants, problems) = read_kites(line.as_bytes(), Path::new(""), offered);
    match (problems.iter().next(), grants.pop()) {
        (None, Some(grant)) => Ok(grant),
        (problem, _) => {
            let text = problem.map_or("write: kitelet relay add NAME", |problem| &problem.text);
            Err(text.trim_start_matches("left out: ").to_owned())
        }
    }
}

/// `PROTO[,PROTO]:NAME`, as the line begins.
fn head(grant: &Grant) -> String {
    let words = grant.protocols.iter().map(|(name, port)| match port {
        Some(port) => format!("{name}-{port}"),
        None => name.clone(),
    });
    format!("{}:{}", words.collect::<Vec<_>>().join(","), grant.domain)
}

/// What there is to know beside the lines for the device.
fn tell(
    added: &Added,
    path: &PathBuf,
    name: &str,
    settings: &RelaySettings,
    errors: &mut dyn Write,
) {
    let file = path.display();
    if added.world_readable {
        let text =
            format!("every user of this machine can read the secrets; run: chmod o-r {file}");
        say(errors, &printable(&format!("warning: {file}: {text}")));
    }
    let used = settings
        .kites_file
        .as_ref()
        .is_some_and(|known| std::path::absolute(known).is_ok_and(|known| known == *path));
    if used {
        say(errors, &printable(&format!("{name} may fly: a line is added to {file}.")));
    } else {
        say(errors, &printable(&format!("A line for {name} is added to {file}.")));
        let text = format!("the relay does not read {file} yet; write kites = {file} in its files");
        say(errors, &printable(&format!("warning: {text}")));
    }
    if !added.earlier.is_empty() {
        let lines: Vec<String> = added.earlier.iter().map(ToString::to_string).collect();
        let lines = lines.join(", ");
        let text = format!(
            "Its secret in line {lines} holds as well: remove that line once the \
             device has the new one."
        );
        say(errors, &text);
    }
    if used {
        say(errors, "A relay that runs reads it within two seconds.");
    }
}

fn refuse(errors: &mut dyn Write, code: u8, text: &str) -> Outcome {
    say(errors, &format!("kitelet: {}", printable(text)));
    Outcome::Exit(code)
}
