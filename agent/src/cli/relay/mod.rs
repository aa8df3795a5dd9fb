//! `kitelet relay`: runs a relay, tells what its configuration means, adds a
//! kite. Options of the files may stand on the command line, as PageKite's do.

mod add;
mod append;
mod check;
mod device;
mod secret;
mod visitors;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::log::{LevelFilter, error};
use argh::FromArgs;

pub use check::describe_relay;

use super::args::split;
use super::{EXIT_CONFIG, EXIT_STOPPED, Outcome, bad_config, say, say_warnings, usage};
use crate::config::{
    Environment, RelaySettings, RelaySources, Source, load_relay, nearest, relay_option,
};
use crate::relay;
use crate::system::log;

/// Where `kitelet relay` looks without `-c`.
pub const DEFAULT_RELAY_CONFIG: &str = "/etc/kitelet-relay.d";

const HELP: &str = "\
Usage: kitelet relay [-c FILE] [--check] [--OPTION=VALUE ...]
       kitelet relay add NAME [PROTOCOLS] [--kites FILE] [--again]

Runs a relay: agents keep a tunnel to it, and visitors of their kites come
to it.

The first time:
  1. In DNS, let the name of this machine and the names of the kites
     (such as *.kites.example.com) lead to this machine.
  2. Write /etc/kitelet-relay.d/10_relay.rc with the certificate:
     tls_endpoint = relay.example.com:/etc/letsencrypt/live/relay.example.com
  3. Let a kite fly, and copy to the device what is printed:
     kitelet relay add box.kites.example.com
  4. kitelet relay --check     what the files mean, and what to mend
     kitelet relay             run it

  -c FILE       rc file or folder of *.rc files; may be repeated
                (without it: /etc/kitelet-relay.d)
  --check       say what the configuration means; start nothing
  --ports=8080  and so any other option of the files
  --kites FILE  the file with the kites and their secrets
                (without it: the file kites in /etc/kitelet-relay.d)

Exit codes: 0 stopped, or the check is good; 64 wrong command line;
73 a file cannot be written; 78 the configuration has to be mended.";

const ADD_HELP: &str = "\
Usage: kitelet relay add NAME [PROTOCOLS] [--kites FILE] [--again]

Lets a kite fly: makes a secret, adds a line to the kites file, and prints
what to write on the device. A relay that runs reads the file by itself.

  NAME          such as box.kites.example.com, or *.example.com for all below
  PROTOCOLS     http,https,websocket,raw unless some are named;
                raw-22 is SSH alone
  --kites FILE  the file to add the line to (without it: the one of the
                configuration, or kites in /etc/kitelet-relay.d)
  -c FILE       rc file or folder of the relay; may be repeated
  --again       a second secret for a kite that has one; remove the old
                line once the device has the new secret

To send the lines to the device as a file:
  kitelet relay add box.kites.example.com > box.rc";

/// `kitelet relay add`; its help stands above.
#[derive(FromArgs, Debug)]
struct AddArguments {
    /// rc file or folder of the relay
    #[argh(option, short = 'c')]
    config: Vec<PathBuf>,
    /// file to add the line to
    #[argh(option)]
    kites: Option<PathBuf>,
    /// make a second secret
    #[argh(switch)]
    again: bool,
    /// name of the kite
    #[argh(positional)]
    name: String,
    /// what may be published
    #[argh(positional)]
    protocols: Option<String>,
}

/// The words behind `kitelet relay`, understood.
#[derive(Debug)]
enum Wanted {
    Run { sources: Vec<Source>, check: bool },
    Add(AddArguments),
    Help(String),
}

/// Does what the words behind `kitelet relay` say, short of running a relay.
pub(super) fn command(
    words: &[String],
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    match read(words, environment) {
        Ok(Wanted::Help(text)) => {
            say(output, &text);
            Outcome::Exit(EXIT_STOPPED)
        }
        Ok(Wanted::Add(arguments)) => {
            let sources = sources(&arguments.config, environment);
            add::command(&arguments, &sources, environment, output, errors)
        }
        Ok(Wanted::Run { sources, check: true }) => {
            check::command(&sources, environment, output, errors)
        }
        Ok(Wanted::Run { sources, check: false }) => match load_relay(&sources, environment) {
            Ok(loaded) => {
                say_warnings(errors, &loaded.warnings);
                Outcome::Relay(Box::new(loaded.settings), RelaySources(sources))
            }
            Err(error) => bad_config(errors, &error),
        },
        Err(text) => usage(errors, &text),
    }
}

/// Runs the relay until a signal comes.
pub(super) fn start(settings: RelaySettings, sources: RelaySources) -> ExitCode {
    log::start(LevelFilter::Info);
    match relay::run(settings, sources) {
        Ok(()) => ExitCode::from(EXIT_STOPPED),
        Err(problem) => {
            error!("{problem}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// The sources of `-c`, or the default folder, which need not be there.
fn sources(config: &[PathBuf], environment: &dyn Environment) -> Vec<Source> {
    if !config.is_empty() {
        return config.iter().cloned().map(Source::Path).collect();
    }
    let folder = Path::new(DEFAULT_RELAY_CONFIG);
    let missing = environment.is_folder(folder);
    let missing = missing.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let path = folder.to_owned();
    vec![if missing { Source::WriteTo(path) } else { Source::Path(path) }]
}

fn read(words: &[String], environment: &dyn Environment) -> Result<Wanted, String> {
    let (mut config, mut lines, mut check) = (Vec::new(), Vec::new(), false);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) else {
            match word.as_str() {
                "-h" => return Ok(Wanted::Help(HELP.into())),
                "-c" => {
                    let path = rest.next().ok_or("-c needs a file or folder behind it")?;
                    config.push(PathBuf::from(path));
                    continue;
                }
                "help" => return Ok(Wanted::Help(HELP.into())),
                "add" if lines.is_empty() && !check => return read_add(config, rest.as_slice()),
                "add" => return Err("of the options, only -c may stand before add".into()),
                other => return Err(not_a_word(other)),
            }
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        match (name, &value) {
            ("help", None) => return Ok(Wanted::Help(HELP.into())),
            ("check", None) => check = true,
            ("config", _) => {
                let path = value.or_else(|| rest.next().cloned());
                config.push(path.ok_or("--config needs a file or folder behind it")?.into());
            }
            _ => {
                let (name, needs_value) = relay_option(&name.replace('-', "_"))
                    .map_err(|text| format!("{}{text}", shown(name)))?;
                let value = match value {
                    None if needs_value => {
                        let next = rest.next().filter(|next| !next.starts_with("--"));
                        let missing = format!("--{name} needs a value; write --{name}=VALUE");
                        Some(next.cloned().ok_or(missing)?)
                    }
                    Some(_) if !needs_value => {
                        return Err(format!("--{name} takes no value; write --{name} alone"));
                    }
                    value => value,
                };
                lines.push(value.map_or(name.to_owned(), |value| format!("{name}={value}")));
            }
        }
    }
    let mut sources = sources(&config, environment);
    if !lines.is_empty() {
        sources.push(Source::Options(lines));
    }
    Ok(Wanted::Run { sources, check })
}

fn read_add(config: Vec<PathBuf>, words: &[String]) -> Result<Wanted, String> {
    let words = split(words)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.iter().any(|word| matches!(*word, "--help" | "-h" | "help")) {
        return Ok(Wanted::Help(ADD_HELP.into()));
    }
    match AddArguments::from_args(&["kitelet", "relay", "add"], &words) {
        Ok(mut arguments) => {
            arguments.config.splice(..0, config);
            Ok(Wanted::Add(arguments))
        }
        Err(_) if words.is_empty() => {
            Err("say which kite, such as kitelet relay add box.example.com".into())
        }
        Err(exit) => Err(exit.output.trim().replace('\n', " ")),
    }
}

/// A word that is no option. It may be a secret, and is not repeated.
fn not_a_word(word: &str) -> String {
    if word.starts_with('-') {
        return "options are written whole, with two dashes, such as --ports=8080".into();
    }
    match nearest(word, ["add", "help"]) {
        Some(near) => format!("no such command; did you mean kitelet relay {near}?"),
        None => "a word stands alone; write --OPTION=VALUE, or kitelet relay add NAME".into(),
    }
}

/// A mistyped option, as far as it looks like one.
fn shown(name: &str) -> String {
    const MAX_NAME_BYTES: usize = 32;
    let fits = name.len() <= MAX_NAME_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if fits { format!("--{name}: ") } else { String::new() }
}

#[cfg(test)]
mod tests;
