//! Which command the words of the command line name. `argh` reads the options;
//! what it cannot (`--option=value`, PageKite's underscores, a version that
//! needs no other argument) is done before.

use std::path::PathBuf;

use argh::FromArgs;

#[cfg(feature = "connect")]
use super::connect::{ConnectArguments, SshConfigArguments};
use super::retry::RetryArguments;
use crate::config::nearest;

const HELP: &str = "\
Usage: kitelet [OPTIONS] PORT NAME [+FLAGS] [AND PORT NAME ...]
       kitelet run [-c FILE]
       kitelet check [-c FILE]
       kitelet retry [-c FILE]
       kitelet connect [OPTIONS] NAME[:PORT]
       kitelet relay [add NAME] [-c FILE]
       kitelet demo

Puts services of this machine on the Internet through a PageKite relay.

  kitelet 8080 box.example.com       publish the web server on port 8080
  kitelet 22 ssh://box.example.com   publish SSH
  kitelet nas:5000 box.example.com   publish a port of another machine
  kitelet run                        fly the kites of /etc/kitelet.d
  kitelet check                      show what the configuration means
  kitelet retry                      let a running agent try now, not later
  kitelet connect box.example.com    visit SSH there, as ssh's ProxyCommand
  kitelet ssh-config NAME...         what ~/.ssh/config needs to visit them
  kitelet relay --help               how to run a relay of your own
  kitelet demo                       see all of it work on this machine

Options of the short form:
  -c FILE                 file or folder with relay and secret
  --frontend HOST:PORT    the relay
  --defaults              the relays of pagekite.net
  --fe_certname NAME      name in the relay's certificate
  --ca_certs FILE         certificates to trust
  --nossl                 no TLS to the relay
  --secret-file FILE      file that holds the kite's secret
Relay and secret come from the first of ~/.kitelet.rc, ~/.pagekite.rc,
/etc/kitelet.d and /etc/pagekite.d that is there.

Flags: +insecure +rewritehost[=HOST] +rawheaders +proxyproto[=v2] +ip/ADDRESS

  --help, --version";

const NO_SECRETS: &str = "a secret never goes on the command line, where every user of this \
     machine can read it; write kitesecret = SECRET in ~/.kitelet.rc and run chmod 600 \
     ~/.kitelet.rc, or use --secret-file FILE";

/// Options whose value is or holds a secret, with dashes.
const SECRET_OPTIONS: [&str; 10] = [
    "secret",
    "kitesecret",
    "service",
    "service-on",
    "service-off",
    "service-cfg",
    "backend",
    "define-backend",
    "be-config",
    "password",
];
/// What the first word may be.
const COMMANDS: [&str; 9] =
    ["run", "check", "retry", "relay", "demo", "connect", "ssh-config", "help", "version"];
/// Words of commands that this program may be built without.
const OPTIONAL: [(&str, bool); 4] = [
    ("kitelet connect ", cfg!(feature = "connect")),
    ("kitelet ssh-config ", cfg!(feature = "connect")),
    ("kitelet relay ", cfg!(feature = "relay")),
    ("kitelet demo", cfg!(feature = "relay")),
];
/// Options that stand alone.
const SWITCHES: [&str; 4] = ["nossl", "defaults", "help", "plain"];

/// The words of a command line, understood.
#[derive(Debug)]
pub(super) enum Command {
    /// `run`, with the files and folders of `-c`.
    Run(Vec<PathBuf>),
    /// `check`, likewise.
    Check(Vec<PathBuf>),
    /// `retry`.
    Retry(RetryArguments),
    /// `PORT NAME`.
    Short(ShortArguments),
    /// `connect`.
    #[cfg(feature = "connect")]
    Connect(ConnectArguments),
    /// `ssh-config`.
    #[cfg(feature = "connect")]
    SshConfig(SshConfigArguments),
    /// `demo`.
    #[cfg(feature = "relay")]
    Demo,
    /// This text is asked for.
    Help(String),
}

/// Keep the tunnels up and forward visitors until a signal comes.
#[derive(FromArgs, Debug)]
struct RunArguments {
    /// rc file, or folder of *.rc files; may be repeated (default
    /// /etc/kitelet.d)
    #[argh(option, short = 'c', arg_name = "file")]
    config: Vec<PathBuf>,
}

/// Show what a configuration means and what is wrong with it.
#[derive(FromArgs, Debug)]
#[argh(note = "Connects to nothing. Exit code 0: it can be used; 78: it cannot.")]
struct CheckArguments {
    /// rc file, or folder of *.rc files; may be repeated (default
    /// /etc/kitelet.d)
    #[argh(option, short = 'c', arg_name = "file")]
    config: Vec<PathBuf>,
}

/// Show a relay, an agent and two services at work, all on this machine.
#[cfg(feature = "relay")]
#[derive(FromArgs, Debug)]
#[argh(note = "Prints what to open and what to try. Ctrl-C ends it.")]
struct DemoArguments {}

/// The short form; its help is that of the program.
#[derive(FromArgs, Debug, Default, PartialEq, Eq)]
pub(super) struct ShortArguments {
    /// file or folder with relay and secret
    #[argh(option, short = 'c')]
    pub(super) config: Vec<PathBuf>,
    /// the relay
    #[argh(option)]
    pub(super) frontend: Vec<String>,
    /// the relays of pagekite.net
    #[argh(switch)]
    pub(super) defaults: bool,
    /// name in the relay's certificate
    #[argh(option, long = "fe-certname")]
    pub(super) certificate_names: Vec<String>,
    /// certificates to trust
    #[argh(option, long = "ca-certs")]
    pub(super) roots: Option<String>,
    /// no TLS to the relay
    #[argh(switch)]
    pub(super) nossl: bool,
    /// file that holds the secret
    #[argh(option)]
    pub(super) secret_file: Option<String>,
    /// port, name and flags
    #[argh(positional, greedy)]
    pub(super) words: Vec<String>,
}

/// The help of the program.
/// Whether the version is asked for, whatever else is.
pub(super) fn asks_for_version(arguments: &[String]) -> bool {
    arguments.first().is_some_and(|word| word == "version")
        || arguments
            .iter()
            .take_while(|word| *word != "--")
            .any(|word| word == "--version" || word == "-V")
}

/// Finds the command that is meant and reads its options.
///
/// # Errors
/// What is wrong with the command line, in words.
pub(super) fn read(arguments: &[String]) -> Result<Command, String> {
    let words = split(arguments)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.split_first() {
        None => Err("say what to publish, such as kitelet 8080 box.example.com".into()),
        Some((&"run", rest)) => {
            options::<RunArguments>("run", rest, |run| Command::Run(run.config))
        }
        Some((&"check", rest)) => {
            options::<CheckArguments>("check", rest, |check| Command::Check(check.config))
        }
        Some((&"retry", rest)) => options::<RetryArguments>("retry", rest, Command::Retry),
        #[cfg(feature = "connect")]
        Some((&"connect", rest)) => options::<ConnectArguments>("connect", rest, Command::Connect),
        #[cfg(feature = "connect")]
        Some((&"ssh-config", rest)) => {
            options::<SshConfigArguments>("ssh-config", rest, Command::SshConfig)
        }
        #[cfg(not(feature = "connect"))]
        Some((&("connect" | "ssh-config"), _)) => Err("this kitelet is built without the \
             visitor's commands, as those for routers are; use it on the visitor's computer"
            .into()),
        #[cfg(feature = "relay")]
        Some((&"demo", rest)) => options::<DemoArguments>("demo", rest, |_| Command::Demo),
        Some((&"help", _)) => Ok(Command::Help(help())),
        Some(_) if words.iter().any(|word| matches!(*word, "--help" | "-h")) => {
            Ok(Command::Help(help()))
        }
        Some((&first, _)) => {
            // A mistyped command is no kite, which has a dot in its name.
            if let Some(near) = nearest(first, COMMANDS) {
                return Err(format!("no such command; did you mean kitelet {near}?"));
            }
            let words = greedy(&words);
            let words: Vec<&str> = words.iter().map(|word| &**word).collect();
            options::<ShortArguments>("", &words, Command::Short)
        }
    }
}

/// The help, without what this program is built without.
fn help() -> String {
    let is_there =
        |line: &&str| OPTIONAL.iter().all(|(word, built)| *built || !line.contains(word));
    HELP.split_inclusive('\n').filter(is_there).collect()
}

fn options<T: FromArgs>(
    name: &str,
    words: &[&str],
    command: impl FnOnce(T) -> Command,
) -> Result<Command, String> {
    let names = ["kitelet", name];
    let names = if name.is_empty() { &names[..1] } else { &names };
    match T::from_args(names, words) {
        Ok(arguments) => Ok(command(arguments)),
        Err(exit) if exit.status.is_ok() => Ok(Command::Help(exit.output)),
        Err(exit) => Err(exit.output.trim().replace('\n', " ")),
    }
}

/// Puts the options before the words, since a greedy positional would swallow
/// them.
fn greedy<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let (mut options, mut rest) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        if word == "--" {
            rest.extend(words.by_ref());
        } else if let Some(name) = word.strip_prefix('-') {
            options.push(word);
            if !SWITCHES.contains(&name.trim_start_matches('-')) {
                options.extend(words.next());
            }
        } else {
            rest.push(word);
        }
    }
    options.push("--");
    options.extend(rest);
    options
}

/// Splits `--option=value`, writes option names with dashes, and refuses
/// secrets before anything can repeat them.
///
/// # Errors
/// What is wrong with the command line, in words.
pub(super) fn split(arguments: &[String]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            words.push(argument.clone());
            words.extend(arguments.by_ref().cloned());
            break;
        }
        let Some(option) = argument.strip_prefix("--") else {
            words.push(argument.clone());
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let name = name.replace('_', "-");
        if SECRET_OPTIONS.contains(&name.as_str()) {
            return Err(NO_SECRETS.into());
        }
        if value.is_some() && SWITCHES.contains(&name.as_str()) {
            return Err(format!("--{name} takes no value; write --{name} alone"));
        }
        words.push(format!("--{name}"));
        words.extend(value.map(str::to_owned));
    }
    Ok(words)
}
