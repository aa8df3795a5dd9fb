//! What each command line does, says and exits with.

use super::*;
use crate::config::{Fake, Security};
use crate::wire::Secret;

const GOOD: &str = "frontend = relay.example.com\nkitename = box.example.com
    kitesecret = s3cret\nservice_on = http:@kitename:localhost:80:@kitesecret";

struct Ran {
    outcome: Outcome,
    output: String,
    errors: String,
}

fn run(line: &str, environment: &Fake) -> Ran {
    let words = line.split_whitespace().map(OsString::from);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outcome = command(words, environment, &mut output, &mut errors);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { outcome, output: text(output), errors: text(errors) }
}

fn with_home(files: &[(&str, &str)]) -> Fake {
    let mut environment = Fake::with(files);
    let home = ("HOME".into(), "/home/me".into());
    environment.variables.extend([home]);
    environment
}

/// The settings that a command line starts with.
fn start(line: &str, environment: &Fake) -> Settings {
    let ran = run(line, environment);
    match ran.outcome {
        Outcome::Start(settings, _) => *settings,
        other => panic!("{line}: {other:?} {}", ran.errors),
    }
}

#[test]
fn the_version_wins_over_everything() {
    for line in ["--version", "-V", "version", "run --version", "8080 --frontend --version"] {
        let ran = run(line, &Fake::default());
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{line}");
        assert_eq!(ran.output, format!("{}\n", super::version::LINE));
    }
}

#[test]
fn help_goes_to_standard_output() {
    for (line, part) in [
        ("--help", "kitelet 8080 box.example.com"),
        ("-h", "kitelet 8080 box.example.com"),
        ("help", "kitelet 8080 box.example.com"),
        ("8080 --help", "kitelet 8080 box.example.com"),
        ("run --help", "Usage: kitelet run"),
        ("check --help", "Usage: kitelet check"),
        ("retry --help", "Usage: kitelet retry"),
        #[cfg(feature = "connect")]
        ("--help", "kitelet connect box.example.com"),
        #[cfg(feature = "connect")]
        ("connect --help", "Usage: kitelet connect"),
        #[cfg(feature = "connect")]
        ("ssh-config --help", "Usage: kitelet ssh-config"),
    ] {
        let ran = run(line, &Fake::default());
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{line}");
        assert!(ran.output.contains(part), "{line}: {}", ran.output);
        assert!(ran.output.lines().all(|line| line.len() <= 80), "{}", ran.output);
        assert_eq!(ran.errors, "", "{line}");
    }
}

#[test]
fn wrong_usage_exits_64_and_says_what_is_wrong() {
    for (line, part) in [
        ("", "say what to publish"),
        ("chek", "did you mean kitelet check?"),
        ("rnu -c x", "did you mean kitelet run?"),
        ("conect box.example.com", "did you mean kitelet connect?"),
        ("check --colour", "Unrecognized argument: --colour"),
        ("run box.example.com", "Unrecognized argument: box.example.com"),
        ("run -c", "No value provided for option '-c'"),
        ("8080", "the name of the kite comes after the port"),
        ("8080 box", "has a dot"),
        ("8080 a.example.com --nossl=1", "--nossl takes no value"),
        ("8080 a.example.com --colour red", "Unrecognized argument: --colour"),
        ("builtin a.example.com", "no built-in web server"),
    ] {
        let ran = run(line, &Fake::default());
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_USAGE), "{line}: {}", ran.errors);
        assert!(ran.errors.contains(part), "{line}: {}", ran.errors);
        assert_eq!(ran.output, "");
    }
}

#[test]
fn the_last_line_names_the_help_of_the_command() {
    for (line, command) in [
        ("chek", "kitelet"),
        ("run -c", "kitelet"),
        #[cfg(feature = "relay")]
        ("relay --prots=80", "kitelet relay"),
        #[cfg(not(feature = "relay"))]
        ("relay", "kitelet"),
        #[cfg(feature = "connect")]
        ("connect", "kitelet connect"),
        #[cfg(feature = "connect")]
        ("ssh-config", "kitelet ssh-config"),
    ] {
        let ran = run(line, &Fake::default());
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_USAGE), "{line}");
        let expected = format!("\n{command} --help tells how it is used.\n");
        assert!(ran.errors.ends_with(&expected), "{line}: {}", ran.errors);
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    for line in [
        "8080 a.example.com --secret s3cret",
        "8080 a.example.com --secret=s3cret",
        "--kitesecret=s3cret 8080 a.example.com",
        "run --service_on=http:a.example.com:localhost:80:s3cret",
        "--backend http:a.example.com:localhost:80:s3cret",
        "8080 a.example.com s3cret",
        "80 http a.example.com 80 s3cret",
        "8080 a.example.com +password/bob=s3cret",
    ] {
        let ran = run(line, &with_home(&[]));
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_USAGE), "{line}");
        assert!(ran.errors.contains("never goes on the command line"), "{line}: {}", ran.errors);
        assert!(!ran.errors.contains("s3cret"), "{line}: {}", ran.errors);
    }
}

#[cfg(unix)]
#[test]
fn retry_asks_the_agent_in_the_runtime_directory() {
    use crate::system::control::{Command, ControlSocket};

    let folder = std::env::temp_dir().join(format!("kitelet-retry-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let line = format!("retry --runtime-directory {}", folder.display());
    let ran = run(&line, &Fake::default());
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_UNAVAILABLE));
    assert!(ran.errors.contains("no agent runs at"), "{}", ran.errors);

    let mut socket = ControlSocket::bind(&folder).expect("a socket");
    let rc = format!("{GOOD}\nruntime_directory = {}", folder.display());
    let by_variable = ("RUNTIME_DIRECTORY".into(), folder.display().to_string());
    let asking = std::thread::spawn(move || {
        let mut environment = Fake::with(&[("/x.rc", &rc)]);
        let mut all = vec![run(&line, &environment), run("retry -c /x.rc", &environment)];
        environment.variables.extend([by_variable]);
        all.push(run("retry", &environment));
        all
    });
    smol::block_on(async {
        for _ in 0..3 {
            let request = socket.next().await;
            assert_eq!(request.command(), Command::Retry);
            request.answer("ok\n").await;
        }
    });
    for ran in asking.join().expect("no panic") {
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
        assert_eq!(ran.output, "the agent tries now\n");
    }
    drop(socket);
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn run_reads_the_default_folder_or_what_it_is_told() {
    let environment =
        Fake::with(&[("/etc/kitelet.d/10.rc", GOOD), ("/x.rc", GOOD), ("/y.rc", "nossl")]);
    assert_eq!(start("run", &environment).kites.len(), 1);
    let settings = start("run -c /x.rc --config=/y.rc", &environment);
    assert_eq!(settings.security, Security::Plain);
}

#[test]
fn a_bad_configuration_exits_78_and_names_the_line() {
    let environment = Fake::with(&[("/x.rc", "kitesecret s3cret\nfrotnend = a")]);
    for command in ["run", "check"] {
        let ran = run(&format!("{command} -c /x.rc"), &environment);
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG));
        assert!(ran.errors.contains("/x.rc:1: kitesecret: the = is missing"), "{}", ran.errors);
        assert!(ran.errors.contains("/x.rc:2: frotnend: no such option; did you mean frontend?"));
        assert!(!ran.errors.contains("s3cret"));
        assert_eq!(ran.output, "");
    }
    let ran = run("run", &Fake::default());
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG));
    assert!(ran.errors.starts_with("/etc/kitelet.d: "), "{}", ran.errors);
}

#[test]
fn check_tells_what_the_configuration_means() {
    let ran = run("check -c /x.rc", &Fake::with(&[("/x.rc", GOOD)]));
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED));
    for part in [
        "relay.example.com:443",
        "TLS; certificate for the relay's own name",
        "http:box.example.com  localhost:80  URL firewall on",
        "service_cfg = box.example.com/80 : insecure : True  (or +insecure)",
    ] {
        assert!(ran.output.contains(part), "{part}: {}", ran.output);
    }
    assert!(!ran.output.contains("s3cret"));
}

#[test]
fn the_short_form_takes_the_first_configuration_that_is_there() {
    let relay = |name: &str| format!("frontend={name}\nkitesecret={name}");
    let places = [
        "/home/me/.kitelet.rc",
        "/home/me/.pagekite.rc",
        "/etc/kitelet.d/1.rc",
        "/etc/pagekite.d/1.rc",
    ];
    for first in 0..places.len() {
        let mut environment = with_home(&[]);
        for (number, place) in places.iter().enumerate().skip(first) {
            let text = relay(&format!("r{number}.example.com"));
            environment.files.insert((*place).to_owned(), text.into_bytes());
        }
        let settings = start("8080 box.example.com", &environment);
        let expected = format!("r{first}.example.com");
        assert_eq!(settings.relays[0].host, expected);
        assert_eq!(settings.kites[0].secret, Secret::new(expected));
        assert_eq!(settings.kites[0].origin.to_string(), "localhost:8080");
    }
}

#[test]
fn options_may_stand_anywhere_in_the_short_form() {
    let environment = with_home(&[("/s", "typed")]);
    for line in [
        "8080 box.example.com --frontend r.example.com:80 --secret-file /s --fe_certname n.example.com",
        "--frontend=r.example.com:80 8080 --fe-certname=n.example.com box.example.com --secret_file=/s",
    ] {
        let settings = start(line, &environment);
        assert_eq!(settings.relays[0].to_string(), "r.example.com:80");
        assert_eq!(settings.kites[0].secret, Secret::new("typed"));
        let Security::Tls(tls) = settings.security else {
            panic!("{line}");
        };
        assert_eq!(tls.names[0].name, "n.example.com");
    }
    let line = "--nossl 80 box.example.com --frontend r.example.com --secret-file /s +insecure";
    let settings = start(line, &environment);
    assert_eq!(settings.security, Security::Plain);
    assert!(settings.kites[0].flags.insecure);
}

#[test]
fn the_short_form_says_what_to_write_where() {
    let ran = run("8080 box.example.com", &with_home(&[]));
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG));
    assert!(ran.errors.contains(
        "write frontend = HOST:PORT, or defaults for pagekite.net, in /home/me/.kitelet.rc"
    ));
    assert!(ran.errors.contains("write kitesecret = SECRET in /home/me/.kitelet.rc"));
    let environment = with_home(&[("/etc/kitelet.d/10.rc", "kitename = box.example.com")]);
    let ran = run("8080 box.example.com", &environment);
    assert!(ran.errors.contains("in /etc/kitelet.d/20_frontends.rc"), "{}", ran.errors);
}

#[test]
fn nobody_listening_is_no_reason_to_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let environment = Fake::with(&[("/x.rc", GOOD)]);
    for (line, code) in [("--help", 0), ("check -c /x.rc", 0), ("check -c /y.rc", 78), ("x", 64)] {
        let words = line.split_whitespace().map(OsString::from);
        let outcome = command(words, &environment, &mut Closed, &mut Closed);
        assert_eq!(outcome, Outcome::Exit(code), "{line}");
    }
}
