//! What a relay's configuration as a whole means, and that nothing can break
//! it.

use proptest::prelude::*;

use super::super::environment::Fake;
use super::super::relay_settings::*;
use super::*;

const FILE: &str = "/k/r.rc";
/// A kite and a certificate, so that only the lines of a test are talked about.
const ENOUGH: &str = "\ndomain = *:enough.example.com:good-secret\n\
     tls_endpoint = enough.example.com:/enough.pem";

fn load_with(text: &str, files: &[(&str, &str)]) -> Result<LoadedRelay, ConfigError> {
    let text = format!("{text}{ENOUGH}");
    let mut environment = Fake::with(&[(FILE, text.as_str()), ("/enough.pem", "")]);
    let more = files.iter().map(|(path, text)| ((*path).into(), text.as_bytes().to_vec()));
    environment.files.extend(more);
    load_relay(&[Source::Path(FILE.into())], &environment)
}

/// The settings of a text that has to be valid, without the additions.
pub(super) fn settings_with(text: &str, files: &[(&str, &str)]) -> RelaySettings {
    match load_with(text, files) {
        Ok(loaded) => {
            let mut settings = loaded.settings;
            settings.certificates.retain(|known| known.name != "enough.example.com");
            settings
        }
        Err(error) => panic!("{text}\n{error}"),
    }
}

pub(super) fn settings(text: &str) -> RelaySettings {
    settings_with(text, &[])
}

/// The mistakes of a text that has to be invalid.
pub(super) fn mistakes_with(text: &str, files: &[(&str, &str)]) -> String {
    match load_with(text, files) {
        Ok(_) => panic!("{text} is taken for valid"),
        Err(error) => error.to_string(),
    }
}

pub(super) fn mistakes(text: &str) -> String {
    mistakes_with(text, &[])
}

pub(super) fn warnings(text: &str) -> String {
    match load_with(text, &[]) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(error) => panic!("{text}\n{error}"),
    }
}

fn load_files(files: &[(&str, &str)], sources: &[Source]) -> Result<LoadedRelay, String> {
    load_relay(sources, &Fake::with(files)).map_err(|error| error.to_string())
}

#[test]
fn everything_has_a_default() {
    let read = settings("");
    let expected = RelaySettings {
        hosts: Vec::new(),
        ports: vec![80, 443],
        port_aliases: Vec::new(),
        protocols: DEFAULT_PROTOCOLS.map(str::to_owned).to_vec(),
        raw_ports: RawPorts { any: true, ..RawPorts::default() },
        kites_file: None,
        grants: read.grants.clone(),
        authorities: Vec::new(),
        max_questions: 4,
        name_server: None,
        certificates: Vec::new(),
        default_certificate: Some("enough.example.com".into()),
        self_sign: false,
        acme_webroot: None,
        visitor_rules: Vec::new(),
        tunnel_rules: Vec::new(),
        limits: RelayLimits {
            max_visitors: 10_000,
            max_tunnels: 10_000,
            max_kites: 100,
            max_streams: 1024,
            max_connections: 200,
            connection_rate: None,
            address_rate: None,
            failure_rate: Rate { count: 20, seconds: 60 },
            quota: KiteQuota::default(),
        },
        error_page: None,
        error_urls: Vec::new(),
        reveal_kites: false,
        motd: None,
        access_log: None,
        run_as: None,
        chroot: None,
        keepalive_seconds: 116,
        buffer_kilobytes: 16 * 1024,
        compress: false,
        stop_seconds: 30,
    };
    assert_eq!(read, expected);
    let empty = RelaySettings { grants: Vec::new(), default_certificate: None, ..expected };
    assert_eq!(empty, RelaySettings::default());
}

#[test]
fn the_sample_of_pagekites_own_relay_is_understood() {
    let sample = "isfrontend
    ports = 80,443,2222
    protos = http,https,websocket,raw
    rawports = virtual
    domain = http,https,websocket,raw-22:*.kites.example.com:s3cretword
    tls_endpoint = *.kites.example.com:/etc/ssl/kites.pem
    tls_default = relay.kites.example.com
    authfail_closed
    END";
    let files = [("/r.rc", sample), ("/etc/ssl/kites.pem", "")];
    let loaded = load_files(&files, &[Source::Path("/r.rc".into())]).expect("valid");
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let settings = loaded.settings;
    assert_eq!(settings.default_certificate.as_deref(), Some("*.kites.example.com"));
    assert_eq!(settings.grants[0].protocols[3], ("raw".into(), Some(22)));
}

#[test]
fn a_relay_without_kites_says_what_to_run() {
    let told = load_files(&[("/r.d/1.rc", "ports = 80")], &[Source::Path("/r.d".into())]);
    let text = "/r.d: kites: no kite may fly; run kitelet relay add NAME, or write kites = FILE in \
         /r.d/10_relay.rc";
    assert_eq!(told.map(|_| ()), Err(text.into()));
    // A line that was not understood may be the one that is missed.
    let told = load_files(&[("/r.rc", "domain = x")], &[Source::Path("/r.rc".into())]);
    assert_eq!(told.expect_err("wrong").lines().count(), 1);
}

#[test]
fn the_kites_file_is_a_line_or_stands_beside_the_files() {
    let files = [("/r.d/1.rc", "ports = 80"), ("/r.d/kites", ""), ("/r.d/more", "")];
    let folder = Source::Path("/r.d".into());
    let read = load_files(&files, std::slice::from_ref(&folder)).expect("valid").settings;
    assert_eq!(read.kites_file, Some("/r.d/kites".into()));
    let options = |line: &str| Source::Options(vec![line.into()]);
    let read = load_files(&files, &[folder.clone(), options("kites=/r.d/more")]).expect("valid");
    assert_eq!(read.settings.kites_file, Some("/r.d/more".into()));
    let told = load_files(&files, &[folder.clone(), options("kites=/none")]).expect_err("missing");
    assert_eq!(
        told,
        "command line: kites: /none does not exist; make it with: kitelet relay add NAME"
    );
    let told = load_files(&files, &[folder, options("kites=/r.d")]).expect_err("folder");
    assert!(told.contains("/r.d is a folder"), "{told}");
    // A single file has no folder that is the relay's own.
    let told = load_files(&files, &[Source::Path("/r.d/1.rc".into())]).expect_err("none");
    assert!(told.contains("no kite may fly"), "{told}");
}

#[test]
fn the_command_line_wins_and_may_name_files() {
    let files = [
        ("/r.rc", "host = 192.0.2.1\nports = 80\ntls_endpoint = a.b:/one.pem\nauthdomain = a.b"),
        ("/more.rc", "max_kites = 3"),
        ("/one.pem", ""),
        ("/two.pem", ""),
    ];
    let lines = [
        "host=192.0.2.2",
        "host=192.0.2.3",
        "ports=8080",
        "tls_endpoint=a.b:/two.pem",
        "authdomain=c.d",
        "optfile=/more.rc",
        "domain=http:x.y:long-secret",
    ];
    let options = Source::Options(lines.map(str::to_owned).to_vec());
    let loaded = load_files(&files, &[Source::Path("/r.rc".into()), options]).expect("valid");
    let read = &loaded.settings;
    assert_eq!(read.hosts.len(), 2);
    assert_eq!(read.ports, [8080]);
    assert_eq!(read.certificates[0].path, std::path::Path::new("/two.pem"));
    assert_eq!(read.authorities[0].means, AuthorityMeans::Dns("c.d".into()));
    assert_eq!(read.limits.max_kites, 3);
    let told = loaded.warnings.to_string();
    assert!(told.contains("can read a secret on the command line"), "{told}");
}

#[test]
fn options_of_the_agent_are_told_and_secrets_are_not() {
    let told = warnings(
        "service_on = http:a.b:localhost:80:s3cret\nkitesecret = s3cret\nnossl\ntls_legacy\n\
         overload = 5\nhttpd = 127.0.0.1:80\nlogfile = x\nnoloop\nisfrontend\nauthfail_closed",
    );
    assert_eq!(told.lines().count(), 7, "{told}");
    assert!(told.contains("service_on: has no effect; it is for the agent"), "{told}");
    assert!(!told.contains("s3cret"), "{told}");
    assert!(mistakes("accept_acl_file = /x").contains("write client_acl and tunnel_acl"));
    assert!(mistakes("abort_not_configured").contains("not finished"));
}

#[test]
fn a_program_cannot_be_asked_from_another_root() {
    let files = [("/bin/who", ""), ("/srv/x", "")];
    let told = mistakes_with("chroot = /srv\nauthdomain = /bin/who", &files);
    assert!(told.contains("chroot: the program of authdomain"), "{told}");
}

#[test]
fn a_secret_for_everybody_to_read_is_told_once() {
    let mut environment =
        Fake::with(&[(FILE, "domain=http:a.b:longenough\ndomain=http:c.d:longenough")]);
    environment.readable.push(FILE.into());
    let loaded = load_relay(&[Source::Path(FILE.into())], &environment).expect("valid");
    let told = loaded.warnings.to_string();
    assert_eq!(told.matches("run: chmod o-r /k/r.rc").count(), 1, "{told}");
    assert!(told.contains("tunnels go in clear and agents need nossl"), "{told}");
}

#[test]
fn the_sources_load_again_and_hide_their_options() {
    let mut environment = Fake::with(&[(FILE, "ports = 80")]);
    let options = Source::Options(vec!["domain=http:a.b:s3cretword".into()]);
    let sources = RelaySources(vec![Source::Path(FILE.into()), options]);
    assert!(!format!("{sources:?}").contains("s3cret"));
    assert_eq!(sources.load(&environment).expect("valid").settings.ports, [80]);
    environment.files.insert(FILE.into(), b"ports = 81".to_vec());
    assert_eq!(sources.load(&environment).expect("valid").settings.ports, [81]);
}

/// Lines that are nearly right, so that the deeper parts are reached.
fn near_lines() -> impl Strategy<Value = String> {
    let options: Vec<&str> = super::super::table::PAGEKITE
        .iter()
        .chain(super::super::table::OURS)
        .chain(OURS_FOR_RELAYS)
        .map(|row| row.name)
        .collect();
    let value = "[a-c.:/@=,+%*^$\\\\ \\[\\]0-9é-]{0,24}|(http|\\*|raw-22|):(\\*\\.)?a\\.b:[a-z0-9]{0,12}|(allow|deny):[0-9a-f.:\\\\*/]{0,16}|[0-9]{1,9}[KMGT/]?[0-9]{0,3}|[0-9]{1,5}=raw:a\\.b|a\\.b:/k/r\\.rc";
    (prop::sample::select(options), value).prop_map(|(option, value)| format!("{option} = {value}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nearly_right_lines_never_panic(lines in prop::collection::vec(near_lines(), 0..24)) {
        match load_with(&lines.join("\n"), &[]) {
            Ok(loaded) => {
                prop_assert!(!loaded.settings.ports.is_empty());
                prop_assert!(!loaded.settings.protocols.is_empty());
                let all = &loaded.settings;
                prop_assert!(all.grants.iter().all(|grant| !grant.protocols.is_empty()));
                let known = |name: &String| all.certificates.iter().any(|known| known.name == *name);
                prop_assert!(all.default_certificate.as_ref().is_none_or(known));
            }
            Err(error) => prop_assert!(!error.mistakes.is_empty()),
        }
    }

    #[test]
    fn arbitrary_kites_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let offered = DEFAULT_PROTOCOLS.map(str::to_owned);
        let _ = read_kites(&bytes, std::path::Path::new("k"), &offered);
    }

    #[test]
    fn a_secret_of_a_kite_is_never_told(
        before in "(http|raw-22|\\*|)?[: ]?(a\\.b)?[: ]?[a-z:=,]{0,6}", after in "[ :=]?[a-z0-9=:]{0,8}",
    ) {
        const SECRET: &str = "ZQXJKVZQXJKV";
        let text = format!("{before}{SECRET}{after}");
        let (grants, problems) = read_kites(text.as_bytes(), std::path::Path::new("k"), &["http".into()]);
        prop_assert!(!problems.to_string().contains(SECRET), "{}", problems);
        // A name is no secret, whatever stands in its place.
        let told = format!("{:?}", grants.iter().map(|grant| &grant.secret).collect::<Vec<_>>());
        prop_assert!(!told.contains(SECRET));
        let told = match load_with(&format!("domain = {text}"), &[]) {
            Ok(loaded) => loaded.warnings.to_string(),
            Err(error) => error.to_string(),
        };
        prop_assert!(!told.contains(SECRET), "{}", told);
    }
}
