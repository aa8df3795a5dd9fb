//! `kitelet PORT NAME`: one or a few kites from the command line, with relay
//! and secret of the first configuration that is there.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::args::ShortArguments;
use super::run::start_with;
use super::{Outcome, usage};
use crate::config::{Environment, Source, read_short_form};

/// In the user's home.
const HOME_FILES: [&str; 2] = [".kitelet.rc", ".pagekite.rc"];
/// On the machine.
const FOLDERS: [&str; 2] = ["/etc/kitelet.d", "/etc/pagekite.d"];

pub(super) fn command(
    arguments: &ShortArguments,
    environment: &dyn Environment,
    errors: &mut dyn Write,
) -> Outcome {
    let kites = match read_short_form(&arguments.words) {
        Ok(kites) => kites,
        Err(text) => return usage(errors, &text),
    };
    let lines = lines(arguments);
    let mut sources: Vec<Source> =
        files(arguments, environment).into_iter().map(Source::Path).collect();
    if sources.is_empty() {
        let path = home(environment).join(HOME_FILES[0]);
        sources.push(Source::WriteTo(path));
    }
    sources.push(Source::Options(lines));
    sources.push(Source::Kites(kites));
    start_with(&sources, environment, errors)
}

/// The options as lines of an rc file; the relay first, since it makes the
/// names and certificates of files forgotten.
fn lines(arguments: &ShortArguments) -> Vec<String> {
    let mut lines = Vec::new();
    let relays = arguments.frontend.iter();
    lines.extend(relays.map(|relay| format!("frontend={relay}")));
    if arguments.defaults {
        lines.push("defaults".into());
    }
    let names = arguments.certificate_names.iter();
    lines.extend(names.map(|name| format!("fe_certname={name}")));
    let roots = arguments.roots.iter();
    lines.extend(roots.map(|path| format!("ca_certs={path}")));
    if arguments.nossl {
        lines.push("nossl".into());
    }
    let secret = arguments.secret_file.iter();
    lines.extend(secret.map(|path| format!("kitesecret_file={path}")));
    lines
}

/// The files with relay and secret: those of `-c`, none when the command line
/// says both, else the first configuration that is there.
fn files(arguments: &ShortArguments, environment: &dyn Environment) -> Vec<PathBuf> {
    if !arguments.config.is_empty() {
        return arguments.config.clone();
    }
    let has_relay = !arguments.frontend.is_empty() || arguments.defaults;
    if has_relay && arguments.secret_file.is_some() {
        return Vec::new();
    }
    let home = home(environment);
    let files = HOME_FILES.iter().map(|name| home.join(name));
    let folders = FOLDERS.iter().map(PathBuf::from);
    let found = files.chain(folders).find(|path| is_there(path, environment));
    found.into_iter().collect()
}

/// Whether a file exists, or a folder that holds rc files. What may not be
/// looked at is there, so that the user is told.
fn is_there(path: &Path, environment: &dyn Environment) -> bool {
    match environment.is_folder(path) {
        Ok(true) => environment.rc_files(path, 1).map_or(true, |names| !names.is_empty()),
        Ok(false) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

fn home(environment: &dyn Environment) -> PathBuf {
    let home = environment.variable("HOME");
    PathBuf::from(home.unwrap_or_else(|| "/root".into()))
}
