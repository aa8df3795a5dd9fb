//! The command line: which command is meant, what it says, how it exits.
//! Commands write to what they are handed, so that a closed terminal or a full
//! disk cannot make the program panic.

mod args;
mod check;
#[cfg(feature = "connect")]
mod connect;
#[cfg(feature = "relay")]
mod demo;
#[cfg(feature = "relay")]
mod relay;
mod retry;
mod run;
mod short;
#[cfg(feature = "connect")]
mod ssh_config;
mod version;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

pub use check::describe;
#[cfg(feature = "relay")]
pub use relay::{DEFAULT_RELAY_CONFIG, describe_relay};

use crate::config::{ConfigError, Environment, Host, Problems, Settings, Source, printable};
#[cfg(feature = "relay")]
use crate::config::{RelaySettings, RelaySources};

/// Stopped by a signal, or done.
pub const EXIT_STOPPED: u8 = 0;
/// The command line is not understood (EX_USAGE of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// A file cannot be written (EX_CANTCREAT of sysexits.h).
#[cfg(feature = "relay")]
pub const EXIT_CANNOT_WRITE: u8 = 73;
/// The kite cannot be reached (EX_UNAVAILABLE of sysexits.h).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// The configuration is not usable (EX_CONFIG of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;
/// Where `run` and `check` look without `-c`.
pub const DEFAULT_CONFIG: &str = "/etc/kitelet.d";

/// What the program does after the command line is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ends with this code.
    Exit(u8),
    /// It flies kites, and may load its configuration again.
    Start(Box<Settings>, Vec<Source>),
    /// It is a relay, and may load its configuration again.
    #[cfg(feature = "relay")]
    Relay(Box<RelaySettings>, RelaySources),
    /// It shows everything at once on this machine.
    #[cfg(feature = "relay")]
    Demo,
    /// It brings somebody to a kite.
    #[cfg(feature = "connect")]
    Visit(Box<crate::connect::Visit>),
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let (mut output, mut errors) = (std::io::stdout(), std::io::stderr());
    match command(arguments, &Host, &mut output, &mut errors) {
        Outcome::Exit(code) => ExitCode::from(code),
        Outcome::Start(settings, sources) => run::start(*settings, &sources),
        #[cfg(feature = "relay")]
        Outcome::Relay(settings, sources) => relay::start(*settings, sources),
        #[cfg(feature = "relay")]
        Outcome::Demo => demo::start(&mut output, &mut errors),
        #[cfg(feature = "connect")]
        Outcome::Visit(visit) => connect::start(*visit, &mut output, &mut errors),
    }
}

/// Reads the command line (without the program's name) and does what it says,
/// short of flying kites and of running a relay.
pub fn command(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    let arguments: Result<Vec<String>, _> =
        arguments.into_iter().map(OsString::into_string).collect();
    let Ok(arguments) = arguments else {
        let outcome = usage(errors, "an argument is not UTF-8; type it again");
        say_help(errors, None);
        return outcome;
    };
    let outcome = run_command(&arguments, environment, output, errors);
    if outcome == Outcome::Exit(EXIT_USAGE) {
        say_help(errors, arguments.first());
    }
    outcome
}

fn run_command(
    arguments: &[String],
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    if args::asks_for_version(arguments) {
        say(output, version::LINE);
        return Outcome::Exit(EXIT_STOPPED);
    }
    if arguments.first().is_some_and(|first| first == "relay") {
        #[cfg(feature = "relay")]
        return relay::command(&arguments[1..], environment, output, errors);
        #[cfg(not(feature = "relay"))]
        return usage(
            errors,
            "this is the small kitelet for routers; install the one with the relay",
        );
    }
    match args::read(arguments) {
        Ok(args::Command::Run(config)) => run::command(&config, environment, errors),
        Ok(args::Command::Check(config)) => check::command(&config, environment, output, errors),
        Ok(args::Command::Short(arguments)) => short::command(&arguments, environment, errors),
        Ok(args::Command::Retry(arguments)) => {
            retry::command(arguments, environment, output, errors)
        }
        #[cfg(feature = "connect")]
        Ok(args::Command::Connect(arguments)) => connect::command(&arguments, environment, errors),
        #[cfg(feature = "connect")]
        Ok(args::Command::SshConfig(arguments)) => {
            ssh_config::command(&arguments, environment, output, errors)
        }
        #[cfg(feature = "relay")]
        Ok(args::Command::Demo) => Outcome::Demo,
        Ok(args::Command::Help(text)) => {
            say(output, &text);
            Outcome::Exit(EXIT_STOPPED)
        }
        Err(text) => usage(errors, &text),
    }
}

/// Says what is wrong with the command line; [`say_help`] follows.
fn usage(errors: &mut dyn Write, text: &str) -> Outcome {
    say(errors, &format!("kitelet: {}", printable(text)));
    Outcome::Exit(EXIT_USAGE)
}

/// Says which help is of use to whoever typed this command.
fn say_help(errors: &mut dyn Write, command: Option<&String>) {
    let command = match command.map(String::as_str) {
        Some("relay") if cfg!(feature = "relay") => "kitelet relay",
        Some("connect") if cfg!(feature = "connect") => "kitelet connect",
        Some("ssh-config") if cfg!(feature = "connect") => "kitelet ssh-config",
        _ => "kitelet",
    };
    say(errors, &format!("{command} --help tells how it is used."));
}

/// Says what is wrong with the configuration.
fn bad_config(errors: &mut dyn Write, error: &ConfigError) -> Outcome {
    say(errors, &error.to_string());
    say_warnings(errors, &error.warnings);
    Outcome::Exit(EXIT_CONFIG)
}

fn say_warnings(errors: &mut dyn Write, warnings: &Problems) {
    for line in warnings.to_string().lines() {
        say(errors, &format!("warning: {line}"));
    }
}

/// Writes a line. That nobody listens is no reason to stop.
fn say(output: &mut dyn Write, text: &str) {
    let _ = writeln!(output, "{}", text.trim_end());
    let _ = output.flush();
}

#[cfg(test)]
mod tests;
