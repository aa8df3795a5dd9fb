//! Example configurations and what is said of them. Beside each `NAME.rc` in
//! `config/valid` stands what `kitelet check` prints for it, beside each in
//! `config/invalid` the messages, as `NAME.expected`; in `config/relay` those of
//! `kitelet relay --check`. After a wanted change,
//! `KITELET_WRITE_EXPECTED=1 cargo test --test config` writes them anew.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use kitelet::cli::describe;
use kitelet::config::{ConfigError, Environment, FileBytes, Host, Source, load};

/// The real files, with permissions that do not depend on the checkout: only
/// files with `readable` in their name are for everybody to read.
struct Examples;

impl Environment for Examples {
    fn read(&self, path: &Path, limit: usize) -> io::Result<FileBytes> {
        let mut read = Host.read(path, limit)?;
        read.world_readable = path.to_string_lossy().contains("readable");
        Ok(read)
    }

    fn rc_files(&self, folder: &Path, limit: usize) -> io::Result<Vec<OsString>> {
        Host.rc_files(folder, limit)
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        // A file of the system that need not be installed where tests run.
        if path == Path::new("/etc/ssl/certs/ca-certificates.crt") {
            return Ok(false);
        }
        Host.is_folder(path)
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// Every `*.rc` file and every folder `*.d` of examples.
fn examples(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("folder of examples");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "rc" || kind == "d"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Everything that is said of an invalid example.
fn told(error: &ConfigError) -> String {
    let warnings = error.warnings.to_string().replace('\n', "\nwarning: ");
    match error.warnings.is_empty() {
        true => error.to_string(),
        false => format!("{error}\nwarning: {warnings}"),
    }
}

fn compare(path: &Path, text: &str) {
    let expected = path.with_extension("expected");
    let text = format!("{text}\n");
    if std::env::var_os("KITELET_WRITE_EXPECTED").is_some() {
        std::fs::write(&expected, &text).expect("write");
    }
    let expected = std::fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
}

#[test]
fn valid_examples_mean_what_is_written_beside_them() {
    for path in examples("tests/config/valid") {
        match load(&[Source::Path(path.clone())], &Examples) {
            Ok(loaded) => {
                let text = describe(&loaded);
                assert!(!text.contains("s3cret"), "{text}");
                assert!(!format!("{loaded:?}").contains("s3cret"), "{text}");
                compare(&path, &text);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn invalid_examples_say_how_to_mend_them() {
    for path in examples("tests/config/invalid") {
        match load(&[Source::Path(path.clone())], &Examples) {
            Ok(_) => panic!("{} is taken for valid", path.display()),
            Err(error) => {
                let text = told(&error);
                assert!(!text.contains("s3cret"), "{text}");
                compare(&path, &text);
            }
        }
    }
}

#[cfg(feature = "relay")]
#[test]
fn valid_examples_of_relays_mean_what_is_written_beside_them() {
    use kitelet::{cli::describe_relay, config::load_relay};
    for path in examples("tests/config/relay/valid") {
        match load_relay(&[Source::Path(path.clone())], &Examples) {
            Ok(loaded) => {
                let text = describe_relay(&loaded, &Examples).expect("kites");
                assert!(!text.contains("s3cret"), "{text}");
                assert!(!format!("{loaded:?}").contains("s3cret"), "{text}");
                compare(&path, &text);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[cfg(feature = "relay")]
#[test]
fn invalid_examples_of_relays_say_how_to_mend_them() {
    use kitelet::config::load_relay;
    for path in examples("tests/config/relay/invalid") {
        match load_relay(&[Source::Path(path.clone())], &Examples) {
            Ok(_) => panic!("{} is taken for valid", path.display()),
            Err(error) => {
                let text = told(&error);
                assert!(!text.contains("s3cret"), "{text}");
                compare(&path, &text);
            }
        }
    }
}
