//! Programs as authorities: right ones, and such that fail, stall, flood and
//! leave others behind.
#![cfg(feature = "relay")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use kitelet::config::{Authority, AuthorityMeans};
use kitelet::relay::authority::{Asker, Patience, Ruling};
use kitelet::wire::{KiteRequest, Salt};
use smol::future;

/// Longer than any test has to wait on a busy machine.
const LONG: Duration = Duration::from_secs(30);
const NOW: u64 = 1_700_000_000;

fn patient() -> Patience {
    Patience { place: LONG, name_server: LONG, lookup: LONG, program: LONG }
}

fn request(domain: &str) -> KiteRequest {
    let id = format!("http:{domain}").parse().expect("valid");
    KiteRequest::sign(&id, "00aa", "t1bb", b"s3cret", Salt::from_random([1, 2, 3, 4]))
}

fn refused(reason: &str) -> Ruling {
    Ruling::Refused(reason.to_owned())
}

fn ask(asker: &Asker) -> Ruling {
    smol::block_on(asker.ask(&request("kite.test"), NOW))
}

fn program_asker(path: &Path, arguments: &[&str], patience: Patience) -> Asker {
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    let means = AuthorityMeans::Program { path: path.to_owned(), arguments };
    Asker::new(vec![Authority { kite_domain: String::new(), means }], 1, None, patience)
}

/// Asks a script: `$0` and `$1` are `--auth` and the domain.
fn ask_script(script: &str, patience: Patience) -> Ruling {
    ask(&program_asker(Path::new("/bin/sh"), &["-c", script], patience))
}

#[test]
fn a_program_that_knows_the_secret_grants() {
    let script = r#"test "$0 $1 $#" = "--auth kite.test 1" || exit 1
        test -z "$(cat)" || exit 1
        printf '{"secret": "s3cret", "quota_kb": 7}\n'"#;
    let ruling = ask_script(script, patient());
    let Ruling::Granted { quota, secret: Some(secret) } = ruling else { panic!("{ruling:?}") };
    assert_eq!((quota.kilobytes, secret.bytes()), (Some(7), &b"s3cret"[..]));
    assert_eq!(ask_script(r#"echo '{"secret": "other"}'"#, patient()), refused("signature"));
    let error = ask_script(r#"echo '{"error": "No such user"}'"#, patient());
    assert_eq!(error, refused("No_such_user"));
}

#[test]
fn a_program_sees_nothing_of_our_environment_but_path() {
    // A shell sets some variables itself.
    let script = r#"test -n "$PATH" && test -z "$HOME$CARGO_MANIFEST_DIR$CARGO_PKG_NAME" &&
        echo '{"secret": "s3cret"}'"#;
    assert!(matches!(ask_script(script, patient()), Ruling::Granted { .. }));
}

#[test]
fn a_program_that_fails_opens_no_door() {
    for script in [
        "exit 0",
        "exit 1",
        r#"echo '{"secret": "s3cret"}'; exit 1"#,
        r#"echo '{"secret": "s3cret"}'; kill -9 $$"#,
        "echo garbage",
        "cat /bin/sh",
        r"printf '\377\376\0'",
    ] {
        assert_eq!(ask_script(script, patient()), Ruling::NoAnswer, "{script}");
    }
    let file = TemporaryFile::new("not-executable");
    fs::write(&file.0, "#!/bin/sh\n").expect("write");
    assert_eq!(ask(&program_asker(&file.0, &[], patient())), Ruling::NoAnswer);
    let missing = Path::new("/nonexistent/program");
    assert_eq!(ask(&program_asker(missing, &[], patient())), Ruling::NoAnswer);
}

#[test]
fn endless_output_is_cut_off_and_the_process_is_gone() {
    let pid = TemporaryFile::new("endless");
    let script = format!("echo $$ > {}; while :; do echo yes; done", pid.0.display());
    assert_eq!(ask_script(&script, patient()), Ruling::NoAnswer);
    assert_gone(&pid);
}

#[test]
fn a_slow_program_is_killed_with_all_that_it_started() {
    let (parent, child) = (TemporaryFile::new("parent"), TemporaryFile::new("child"));
    let script = format!(
        "sleep 1000 & echo $! > {child}; echo $$ > {parent}; wait",
        child = child.0.display(),
        parent = parent.0.display()
    );
    // Long enough for a shell to start on a busy machine.
    let patience = Patience { program: Duration::from_secs(2), ..patient() };
    assert_eq!(ask_script(&script, patience), Ruling::NoAnswer);
    assert_gone(&parent);
    assert_gone(&child);
    // It has closed its output, and stays.
    let script = format!("echo $$ > {}; exec >&-; sleep 1000", parent.0.display());
    assert_eq!(ask_script(&script, patience), Ruling::NoAnswer);
    assert_gone(&parent);
    // It has ended, and what it started holds the output open.
    let script = format!("sleep 1000 & echo $! > {}", child.0.display());
    assert_eq!(ask_script(&script, patience), Ruling::NoAnswer);
    assert_gone(&child);
}

#[test]
fn a_dropped_question_kills_the_program_and_frees_its_place() {
    let pid = TemporaryFile::new("dropped");
    let script = format!(
        r#"test "$1" = next.test && echo '{{"error": "next"}}' && exit
        echo $$ > {}; sleep 1000"#,
        pid.0.display()
    );
    let asker = program_asker(Path::new("/bin/sh"), &["-c", &script], patient());
    smol::block_on(async {
        let started = async {
            while pid.number().is_none() {
                smol::Timer::after(Duration::from_millis(5)).await;
            }
        };
        let first = request("kite.test");
        let question = async {
            asker.ask(&first, NOW).await;
        };
        future::or(question, started).await;
        // There is one place.
        assert_eq!(asker.ask(&request("next.test"), NOW).await, refused("next"));
    });
    assert_gone(&pid);
}

struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str) -> Self {
        let file =
            Self(std::env::temp_dir().join(format!("kitelet-{}-{name}", std::process::id())));
        let _ = fs::remove_file(&file.0);
        file
    }

    fn number(&self) -> Option<u32> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The process whose number the file holds is no more, not even a zombie of
/// ours; whoever adopts a grandchild may leave it one.
fn assert_gone(file: &TemporaryFile) {
    let number = file.number().expect("the program had begun");
    let deadline = Instant::now() + LONG;
    loop {
        let Ok(status) = fs::read_to_string(format!("/proc/{number}/stat")) else { return };
        let fields = status.rsplit(')').next().unwrap_or_default();
        let mut fields = fields.split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        let is_ours = parent == Some(&std::process::id().to_string());
        if state == Some("Z") && !is_ours {
            return;
        }
        assert!(Instant::now() < deadline, "process {number} is still there: {status}");
        thread::sleep(Duration::from_millis(5));
    }
}
