//! `kitelet retry`: tells the agent that runs to try now what it waits to try.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use super::run::sources;
use super::{EXIT_STOPPED, EXIT_UNAVAILABLE, Outcome, bad_config, say};
use crate::config::{Environment, load, printable};

/// Where systemd and the packages have it.
const DEFAULT_DIRECTORY: &str = "/run/kitelet";

/// Tell the agent that runs to try now, without waiting.
#[derive(FromArgs, Debug)]
#[argh(
    note = "The directory is that of the option or of -c (runtime_directory), else\n\
            $RUNTIME_DIRECTORY, else /run/kitelet. SIGUSR1 to the agent does the same.",
    note = "Exit code 0: it was told; 69: no agent answers there."
)]
pub(super) struct RetryArguments {
    /// rc file, or folder of *.rc files, that the agent was started with; may
    /// be repeated (default /etc/kitelet.d)
    #[argh(option, short = 'c', arg_name = "file")]
    pub(super) config: Vec<PathBuf>,
    /// the directory of the agent's control socket
    #[argh(option, arg_name = "directory")]
    pub(super) runtime_directory: Option<PathBuf>,
}

pub(super) fn command(
    arguments: RetryArguments,
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    let RetryArguments { config, runtime_directory } = arguments;
    let directory = match runtime_directory {
        Some(directory) => directory,
        None => match load(&sources(&config), environment) {
            Ok(loaded) => loaded.settings.runtime_directory,
            Err(error) if !config.is_empty() => return bad_config(errors, &error),
            // Not everybody who may ask the agent may read its secrets.
            Err(_) => environment.variable("RUNTIME_DIRECTORY").and_then(|directories| {
                directories.split(':').next().map(PathBuf::from).filter(|path| path.is_absolute())
            }),
        }
        .unwrap_or_else(|| DEFAULT_DIRECTORY.into()),
    };
    match ask(&directory.join("control"), "retry\n") {
        Ok(answer) if answer.trim() == "ok" => {
            say(output, "the agent tries now");
            Outcome::Exit(EXIT_STOPPED)
        }
        Ok(answer) => failed(errors, &format!("the agent answers: {}", printable(answer.trim()))),
        Err(text) => failed(errors, &text),
    }
}

fn failed(errors: &mut dyn Write, text: &str) -> Outcome {
    say(errors, &format!("kitelet: {text}"));
    Outcome::Exit(EXIT_UNAVAILABLE)
}

/// One question and its answer, of at most four kilobytes.
#[cfg(unix)]
fn ask(path: &std::path::Path, question: &str) -> Result<String, String> {
    use std::io::{ErrorKind, Read as _};
    use std::os::unix::net::UnixStream;

    use crate::system::control::{TIMEOUT, is_unheard};

    const MAX_ANSWER_BYTES: u64 = 4096;

    let asked = UnixStream::connect(path).and_then(|mut stream| {
        // The agent may be busy for as long as it allows us.
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(question.as_bytes())?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
        Ok(answer)
    });
    let path = printable(&path.display().to_string());
    asked.map_err(|error| match error.kind() {
        _ if is_unheard(&error) => format!(
            "no agent runs at {path}; is it started, and is this the runtime_directory of its \
             configuration?"
        ),
        ErrorKind::PermissionDenied => {
            format!("{path}: only root and the agent's own user may ask it")
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{path}: the agent does not answer within {} seconds", TIMEOUT.as_secs())
        }
        _ => format!("{path}: {}", printable(&error.to_string())),
    })
}

/// There is no agent.
#[cfg(not(unix))]
fn ask(_: &std::path::Path, _: &str) -> Result<String, String> {
    Err("no agent runs on this system".into())
}
