//! What each command line of the relay does, says and exits with.

use std::ffi::OsString;

use super::*;
use crate::cli::{EXIT_CANNOT_WRITE, EXIT_USAGE, command as program};
use crate::config::{Fake, Host, load, read_kites};
use crate::net::SelfSigned;

const GOOD: &str = "ports = 8443\ntls_endpoint = relay.example.com:/live.pem\n\
     domain = http,raw:*.kites.example.com:s3cretword";

struct Ran {
    outcome: Outcome,
    output: String,
    errors: String,
}

fn run_words(words: &[&str], environment: &dyn Environment) -> Ran {
    let words = words.iter().map(OsString::from);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outcome = program(words, environment, &mut output, &mut errors);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { outcome, output: text(output), errors: text(errors) }
}

fn run(line: &str, environment: &dyn Environment) -> Ran {
    run_words(&line.split_whitespace().collect::<Vec<_>>(), environment)
}

fn machine() -> Fake {
    Fake::with(&[("/etc/kitelet-relay.d/10.rc", GOOD), ("/live.pem", ""), ("/k", "")])
}

/// The settings that a command line starts a relay with.
fn start(line: &str, environment: &Fake) -> RelaySettings {
    let ran = run(line, environment);
    match ran.outcome {
        Outcome::Relay(settings, sources) => {
            let again = sources.load(environment).map(|loaded| loaded.settings);
            assert_eq!(again.as_ref(), Ok(&*settings));
            *settings
        }
        other => panic!("{line}: {other:?} {}", ran.errors),
    }
}

#[test]
fn a_relay_starts_with_files_and_options() {
    assert_eq!(start("relay", &machine()).ports, [8443]);
    let line = "relay --ports=80,81 --max_kites 7 --reveal-kites --kites /k";
    let settings = start(line, &machine());
    assert_eq!(settings.ports, [80, 81]);
    assert_eq!((settings.limits.max_kites, settings.reveal_kites), (7, true));
    let mut environment = machine();
    environment.files.insert("/x.rc".into(), b"domain=http:a.b:s3cretword".to_vec());
    for line in ["relay -c /x.rc", "relay --config /x.rc --ratel=1/2", "relay --config=/x.rc"] {
        assert_eq!(start(line, &environment).ports, [80, 443], "{line}");
    }
    // Without any file, PageKite's way.
    let line = "relay --isfrontend --ports=8080 --domain=*:*.example.com:s3cretword";
    let ran = run(line, &Fake::default());
    assert!(matches!(ran.outcome, Outcome::Relay(..)), "{}", ran.errors);
    assert!(ran.errors.contains("can read a secret on the command line"), "{}", ran.errors);
    assert!(!format!("{:?} {}", ran.outcome, ran.errors).contains("s3cret"));
}

#[test]
fn a_bad_configuration_exits_78_and_says_what_to_do() {
    let ran = run("relay", &Fake::default());
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG));
    let text = "/etc/kitelet-relay.d: kites: no kite may fly; run kitelet relay add NAME";
    assert!(ran.errors.starts_with(text), "{}", ran.errors);
    assert!(ran.errors.contains("kites = FILE in /etc/kitelet-relay.d/10_relay.rc"));
    for line in ["relay --ports=x", "relay --ports=x --check"] {
        let ran = run(line, &machine());
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG));
        assert!(ran.errors.starts_with("command line: ports: x is no port"), "{}", ran.errors);
    }
    let mut environment = machine();
    environment.files.insert("/etc/kitelet-relay.d/kites".into(), vec![b'x'; 80 << 20]);
    let ran = run("relay --check", &environment);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG));
    assert!(ran.errors.contains("/etc/kitelet-relay.d/kites: is larger"), "{}", ran.errors);
}

#[test]
fn check_tells_what_the_configuration_means() {
    let folder = Folder::new("means");
    let made = SelfSigned::new("relay.example.com").expect("made");
    folder.write("live.pem", &format!("{}{}", made.certificate, made.key));
    folder.write("10.rc", &GOOD.replace("/live.pem", "live.pem"));
    let config = folder.0.display().to_string();
    let ran = run(&format!("relay -c {config} --check --client_acl=allow:192.0.2.0/24"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    let pin: String = made.pin.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(ran.output.contains(&format!("pin sha256:{pin}\n")), "{}", ran.output);
    for part in [
        "every address, port 8443",
        "relay.example.com  ",
        "1 by domain lines: *.kites.example.com",
        "visitors: allow 192.0.2.0/24, else deny",
        "agents: everybody",
    ] {
        assert!(ran.output.contains(part), "{part}: {}", ran.output);
    }
    assert!(!ran.output.contains("s3cret"));
}

#[test]
fn help_fits_a_small_screen() {
    for (line, part) in [
        ("relay --help", "kitelet relay add box.kites.example.com"),
        ("relay -h", "The first time"),
        ("relay help", "The first time"),
        ("relay --ports=80 --help", "The first time"),
        ("relay add --help", "Usage: kitelet relay add"),
        ("--help", "how to run a relay of your own"),
    ] {
        let ran = run(line, &Fake::default());
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{line}");
        assert!(ran.output.contains(part), "{line}: {}", ran.output);
        assert!(ran.output.lines().all(|line| line.len() <= 80), "{}", ran.output);
    }
}

#[test]
fn wrong_usage_exits_64_and_repeats_no_secret() {
    for (line, part) in [
        ("rela", "did you mean kitelet relay?"),
        ("relay ad", "did you mean kitelet relay add?"),
        ("relay box.example.com", "kitelet relay add NAME"),
        ("relay s3cret", "a word stands alone"),
        ("relay -f", "with two dashes"),
        ("relay -c", "-c needs a file"),
        ("relay --", "with two dashes"),
        ("relay --prots=80", "--prots: no such option; did you mean --ports?"),
        ("relay --po=80", "--po: no such option; short for ports, portalias"),
        ("relay --s3cret:s3cret", "no such option"),
        ("relay --ports", "--ports needs a value; write --ports=VALUE"),
        ("relay --ports --check", "--ports needs a value"),
        ("relay --isfrontend=1", "--isfrontend takes no value"),
        ("relay --check=1", "--check"),
        ("relay --check add a.b", "only -c may stand before add"),
        ("relay add", "say which kite"),
        ("relay add a.b http more", "Unrecognized argument: more"),
        ("relay add a.b --secret s3cret", "never goes on the command line"),
        ("relay add box", "has a dot"),
        ("relay add a.b htp", "did you mean http?"),
        ("relay add a.b http:s3cret", "such as box.example.com http,raw-22"),
        ("relay add a_.!b", "is a DNS name"),
    ] {
        let ran = run(line, &machine());
        assert_eq!(ran.outcome, Outcome::Exit(EXIT_USAGE), "{line}: {}", ran.errors);
        assert!(ran.errors.contains(part), "{line}: {}", ran.errors);
        assert!(!ran.errors.contains("s3cret:") && ran.output.is_empty(), "{line}");
    }
}

/// A folder of this machine that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("kitelet-relay-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("folder");
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("write");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_kite_is_added_and_the_device_is_told() {
    let folder = Folder::new("add");
    let made = SelfSigned::new("relay.example.com").expect("made");
    folder.write("live.pem", &format!("{}{}", made.certificate, made.key));
    folder.write("1.rc", "tls_endpoint = relay.example.com:live.pem\nports = 8443,443");
    let config = folder.0.display().to_string();
    let ran = run(&format!("relay add -c {config} Box.example.com"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);

    let kites = folder.0.join("kites");
    let bytes = std::fs::read(&kites).expect("kites");
    let offered = ["http", "https", "websocket", "raw"].map(str::to_owned);
    let (grants, problems) = read_kites(&bytes, &kites, &offered);
    assert!(problems.is_empty(), "{problems}");
    assert_eq!((grants[0].domain.as_str(), grants[0].protocols.len()), ("box.example.com", 4));
    // What is printed is an rc file that an agent can use as it stands.
    let device = folder.write("device.rc", &ran.output);
    let loaded = load(&[Source::Path(device.into())], &Host).expect("valid");
    assert!(loaded.settings.relays[0].to_string() == "relay.example.com:443", "{}", ran.output);
    assert!(loaded.settings.kites.iter().all(|kite| kite.secret == grants[0].secret));
    let ids: Vec<String> = loaded.settings.kites.iter().map(|kite| kite.id.to_string()).collect();
    assert_eq!(ids, ["http:box.example.com", "raw-22:box.example.com"]);
    assert!(ran.output.contains("fe_certname = relay.example.com"));
    let visitors = "# For visitors:\n#   http://box.example.com:8443/\n#   kitelet ssh-config \
                    --relay relay.example.com:443 box.example.com >> ~/.ssh/config\n";
    assert!(ran.output.contains(visitors), "{}", ran.output);
    assert!(ran.errors.contains("within two seconds"), "{}", ran.errors);

    let line = format!("relay -c {config} add box.example.com");
    let ran = run(&line, &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_USAGE));
    assert!(ran.errors.contains("kites:1 already"), "{}", ran.errors);
    let ran = run(&format!("{line} http,raw-2222 --again"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED));
    assert!(ran.errors.contains("Its secret in line 1 holds as well"), "{}", ran.errors);
    assert!(ran.output.contains("raw-2222:@kitename:localhost:2222:"), "{}", ran.output);
    assert_eq!(std::fs::read_to_string(&kites).expect("kites").lines().count(), 2);
    // And now the relay has what it needs.
    let ran = run(&format!("relay -c {config} --check"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    assert!(ran.output.contains("2 of "), "{}", ran.output);
}

#[test]
fn the_device_of_a_relay_without_certificate_is_told_to_go_in_clear() {
    let folder = Folder::new("clear");
    let config = folder.write("1.rc", "portalias = 8080:80\nports = 8080,8443\nprotos = http,raw");
    let kites = folder.write("mine", "");
    let line = format!("relay add a.example.com --kites={kites} -c {config}");
    let ran = run(&line, &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    assert!(ran.output.contains("frontend = a.example.com:80\n"), "{}", ran.output);
    assert!(ran.output.contains("\nnossl\n") && !ran.output.contains("fe_certname"));
    assert!(ran.errors.contains(&format!("write kites = {kites} in its files")), "{}", ran.errors);
    assert!(!ran.errors.contains("within two seconds"), "{}", ran.errors);
    let ssh = "kitelet ssh-config --relay a.example.com:80 --plain a.example.com >> ~/.ssh/config";
    assert!(ran.output.contains(ssh) && !ran.output.contains("ATTENTION"), "{}", ran.output);
    assert!(ran.errors.contains(&format!("chmod o-r {kites}")), "{}", ran.errors);
    let text = std::fs::read_to_string(&kites).expect("kites");
    assert!(text.starts_with("http,raw:a.example.com:"), "{text}");
    // The secret is for the device and the file, and for nobody's log.
    let secret = text.trim().rsplit(':').next().expect("secret");
    assert!(ran.output.contains(secret) && !ran.errors.contains(secret));
}

#[test]
fn a_relay_without_files_is_told_of_on_top_of_the_devices_lines() {
    let folder = Folder::new("bare");
    let kites = folder.0.join("kites").display().to_string();
    let ran = run(&format!("relay add a.example.com --kites {kites}"), &Fake::default());
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    let top = "# ATTENTION: the relay has no configuration file yet";
    assert!(
        ran.output.starts_with(top) && ran.output.contains("tls_endpoint = "),
        "{}",
        ran.output
    );
    let device = folder.write("device.rc", &ran.output);
    assert!(load(&[Source::Path(device.into())], &Host).is_ok(), "{}", ran.output);
}

#[test]
fn visitors_of_a_relay_that_made_its_certificate_are_given_the_pin() {
    let folder = Folder::new("pin");
    folder.write("1.rc", "tls_endpoint = relay.example.com:own.pem\nselfsign");
    let config = folder.0.display().to_string();
    let ran = run(&format!("relay add -c {config} *.example.com http,raw-22,raw-5900"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    let line = ran.output.lines().find_map(|line| line.strip_prefix("fe_certname = "));
    let pinned = line.expect("a name");
    assert!(pinned.starts_with("relay.example.com/sha256:"), "{pinned}");
    let way = format!("--relay relay.example.com:443 --relay-certname {pinned}");
    for command in [
        "#   http://box.example.com/\n".to_owned(),
        format!("#   kitelet ssh-config {way} box.example.com >> ~/.ssh/config\n"),
        format!("#   kitelet connect {way} --listen 127.0.0.1:5900 box.example.com:5900\n"),
    ] {
        assert!(ran.output.contains(&command), "{command}: {}", ran.output);
    }
    // The relay's owner reads the same pin.
    let ran = run(&format!("relay -c {config} --check"), &Host);
    let pin = pinned.split_once('/').expect("pin").1;
    assert!(ran.output.contains(&format!("pin {pin}\n")), "{}{}", ran.output, ran.errors);
}

#[test]
fn check_opens_the_files_that_a_start_opens() {
    let folder = Folder::new("opens");
    let made = SelfSigned::new("relay.example.com").expect("made");
    let other = SelfSigned::new("relay.example.com").expect("made");
    folder.write("none.pem", "hello");
    folder.write("keyless.pem", &made.certificate);
    folder.write("pair.pem", &format!("{}{}", made.certificate, other.key));
    let config = folder.write(
        "1.rc",
        "tls_endpoint = a.example.com:none.pem\ntls_endpoint = b.example.com:keyless.pem\n\
         tls_endpoint = c.example.com:pair.pem\n\
         domain = http:*.kites.example.com:s3cretword",
    );
    let ran = run(&format!("relay -c {config} --check"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG), "{}", ran.output);
    assert_eq!(ran.output, "");
    for part in [
        "none.pem: holds no certificate",
        "keyless.pem: holds no private key",
        "pair.pem: key and certificate are not a pair",
    ] {
        assert!(ran.errors.contains(part), "{part}: {}", ran.errors);
    }
    // A certificate for another name can be used, and is told of.
    folder.write("good.pem", &format!("{}{}", made.certificate, made.key));
    let config = folder.write(
        "1.rc",
        "tls_endpoint = a.example.com:good.pem\ndomain = http:*.kites.example.com:s3cretword",
    );
    let ran = run(&format!("relay -c {config} --check"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    let doubt = "good.pem: the certificate is for relay.example.com, not for a.example.com";
    assert!(ran.output.contains("Warnings: ") && ran.output.contains(doubt), "{}", ran.output);
}

#[test]
fn check_makes_no_certificate() {
    let folder = Folder::new("unmade");
    let config = folder.write(
        "1.rc",
        "tls_endpoint = a.example.com:own.pem\nselfsign\n\
         domain = http:*.kites.example.com:s3cretword",
    );
    let ran = run(&format!("relay -c {config} --check"), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    assert!(ran.output.contains("is made when the relay starts"), "{}", ran.output);
    assert!(!folder.0.join("own.pem").exists());
}

#[test]
fn a_wildcard_certificate_needs_a_name_below_it() {
    let folder = Folder::new("wild");
    folder.write("live.pem", "");
    folder.write("1.rc", "tls_endpoint = *.example.com:live.pem");
    let ran = run(&format!("relay add -c {} *.x.example.com", folder.0.display()), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_STOPPED), "{}", ran.errors);
    assert!(ran.output.contains("fe_certname = relay.example.com"), "{}", ran.output);
}

#[test]
fn where_nothing_can_be_written_nothing_is_printed() {
    let folder = Folder::new("fail");
    let config = folder.write("1.rc", "ports = 80");
    let line = format!("relay add a.example.com -c {config}");
    let ran = run(&line, &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_CONFIG));
    assert!(ran.errors.contains("names no kites file"), "{}", ran.errors);
    let ran = run(&format!("{line} --kites {}/none/kites", folder.0.display()), &Host);
    assert_eq!(ran.outcome, Outcome::Exit(EXIT_CANNOT_WRITE));
    assert!(ran.errors.contains("nothing is added: "), "{}", ran.errors);
    assert_eq!(ran.output, "");
}

proptest::proptest! {
    #[test]
    fn arbitrary_words_never_panic(words in proptest::collection::vec("--?[a-z_]{0,9}=?[0-9a-c.:/,]{0,6}|[a-z:]{0,5}|é", 0..6)) {
        // `add` would write to the disk.
        if words.iter().all(|word| word != "add") {
            let mut all = vec!["relay"];
            all.extend(words.iter().map(String::as_str));
            let _ = run_words(&all, &machine());
        }
    }
}
