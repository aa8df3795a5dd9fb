//! What a configuration as a whole means, and that nothing can break it.

use proptest::prelude::*;

use super::environment::Fake;
use super::*;
use crate::wire::Secret;

const RELAY: &str = "frontend = relay.example.com\n";

fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let environment = Fake::with(&[("/k.rc", text)]);
    load(&[Source::Path("/k.rc".into())], &environment)
}

/// The settings of a text that has to be valid.
fn settings(text: &str) -> Settings {
    match load_text(text) {
        Ok(loaded) => loaded.settings,
        Err(error) => panic!("{text}\n{error}"),
    }
}

fn short(words: &str) -> Vec<ShortKite> {
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    match read_short_form(&words) {
        Ok(kites) => kites,
        Err(text) => panic!("{words:?}: {text}"),
    }
}

/// The secrets of the kites, in order.
fn secrets(settings: &Settings) -> Vec<Secret> {
    settings.kites.iter().map(|kite| kite.secret.clone()).collect()
}

#[test]
fn everything_has_a_default() {
    let settings = settings(&format!("{RELAY}service_on=http:a.b:localhost:80:s"));
    let expected = Settings {
        relays: vec![RelayAddress { host: "relay.example.com".into(), port: DEFAULT_RELAY_PORT }],
        pool: None,
        spare_relays: 0,
        never: Vec::new(),
        ignores_own_names: false,
        security: Security::Tls(TlsSettings { names: Vec::new(), roots: None }),
        proxy: ProxySettings::default(),
        kites: settings.kites.clone(),
        error_urls: Vec::new(),
        compress: false,
        websocket: false,
        keepalive_seconds: DEFAULT_KEEPALIVE_SECONDS,
        adapts_keepalive: true,
        retry_seconds: DEFAULT_RETRY_SECONDS,
        late_retry_seconds: DEFAULT_LATE_RETRY_SECONDS,
        max_streams: DEFAULT_MAX_STREAMS,
        buffer_kilobytes: DEFAULT_BUFFER_KILOBYTES,
        state_directory: None,
        runtime_directory: None,
    };
    assert_eq!(settings, expected);
    assert_eq!(settings.kites[0].flags, KiteFlags::default());
}

#[test]
fn the_last_value_holds() {
    let settings = settings(&format!(
        "{RELAY}service_on=http:a.b:localhost:80:s
        keepalive=40\nkeepalive=50\nbuffers=100\nbuffers=200\nmax_streams=1\nmax_streams=2
        zchunks\nnozchunks\nzchunks"
    ));
    assert_eq!(settings.keepalive_seconds, 50);
    assert_eq!(settings.buffer_kilobytes, 200);
    assert_eq!(settings.max_streams, 2);
    assert!(settings.compress);
}

#[test]
fn a_directory_is_that_of_the_file_or_of_the_service_manager() {
    let rc = |more: &str| format!("{RELAY}{more}\nservice_on=http:a.b:localhost:80:s");
    let told = settings(&rc("state_directory=/etc/kitelet/state\nruntime_directory=/run/k"));
    assert_eq!(told.state_directory, Some("/etc/kitelet/state".into()));
    assert_eq!(told.runtime_directory, Some("/run/k".into()));
    let error = load_text(&rc("state_directory=state")).expect_err("where is that?");
    assert!(error.to_string().contains("whole path of a directory"), "{error}");

    let mut environment = Fake::with(&[("/x.rc", &rc("runtime_directory=/run/k"))]);
    environment.variables.extend([
        ("STATE_DIRECTORY".into(), "/var/lib/a:/var/lib/b".into()),
        ("RUNTIME_DIRECTORY".into(), "/run/systemd".into()),
    ]);
    let loaded = load(&[Source::Path("/x.rc".into())], &environment).expect("valid");
    assert_eq!(loaded.settings.state_directory, Some("/var/lib/a".into()));
    assert_eq!(loaded.settings.runtime_directory, Some("/run/k".into()));
}

#[test]
fn tunnels_inside_a_websocket_are_not_for_pagekites_relays() {
    const SERVICE: &str = "service_on=http:a.b:localhost:80:s";
    let loaded = load_text(&format!("{RELAY}wschunks\n{SERVICE}")).expect("valid");
    assert!(loaded.settings.websocket && loaded.warnings.is_empty());
    for relays in ["defaults", "whitelabel=example.com"] {
        let loaded = load_text(&format!("{relays}\nwschunks\n{SERVICE}")).expect("valid");
        let warnings = loaded.warnings.to_string();
        assert!(loaded.settings.websocket);
        assert!(warnings.contains("wschunks: the relays of pagekite.net take no"), "{warnings}");
    }
}

#[test]
fn a_remark_behind_a_secret_does_not_become_a_part_of_it() {
    for line in [
        "service_on=http:a.b:localhost:80:@kitesecret # my web",
        "service_on=http:a.b:localhost:80:s3cret\t#my web",
        "kitesecret = s3cret # of the box",
    ] {
        let text = format!("{RELAY}kitesecret=one\n{line}\nservice_on=raw-22:a.b:localhost:22");
        let told = load_text(&text).expect_err(line).to_string();
        let mend = "a secret has no blanks; a remark needs a line of its own";
        assert!(told.contains(mend) && told.contains(":3: "), "{told}");
        assert!(!told.contains("s3cret") && !told.contains("my web"), "{told}");
    }
    // What PageKite takes for a secret stays one.
    for secret in ["a#b", "#a", "a b", "a# b"] {
        let settings =
            settings(&format!("{RELAY}kitesecret={secret}\nservice_on=http:a.b:localhost:80"));
        assert_eq!(secrets(&settings), [Secret::new(secret)], "{secret}");
    }
}

#[test]
fn placeholders_take_what_is_set_so_far() {
    let settings = settings(&format!(
        "{RELAY}kitename=a.b\nkitesecret=one
        service_on=http:@kitename:localhost:80:@kitesecret
        kitesecret=two
        service_on=https:www.@kitename:localhost:443:@kitesecret
        service_on=raw-22:@kitename:localhost:22:own"
    ));
    let ids: Vec<_> = settings.kites.iter().map(|kite| kite.id.to_string()).collect();
    assert_eq!(ids, ["http:a.b", "https:www.a.b", "raw-22:a.b"]);
    assert_eq!(secrets(&settings), [Secret::new("one"), Secret::new("two"), Secret::new("own")]);
}

#[test]
fn the_first_service_supplies_the_default_kite() {
    let settings = settings(&format!(
        "{RELAY}service_on=http:a.b:localhost:80:first
        service_on=ssh:@kitename:localhost:22:@kitesecret"
    ));
    assert_eq!(settings.kites[1].id.to_string(), "raw-22:a.b");
    assert_eq!(secrets(&settings), [Secret::new("first"), Secret::new("first")]);
}

#[test]
fn secrets_come_from_files_and_credentials() {
    let mut environment = Fake::with(&[
        (
            "/k/a.rc",
            "frontend = r.b
            service_on=http:own.b:localhost:80:inline
            service_on=http:special.b:localhost:80:@kitesecret
            kitesecret_file=secret
            service_on=http:from-file.b:localhost:80",
        ),
        ("/k/secret", "file\n"),
        ("/c/kitesecret", "general\n"),
        ("/c/kitesecret.special.b", "special\n"),
        ("/g.rc", "frontend = r.b\nservice_on=http:general.b:localhost:80"),
    ]);
    let variable = ("CREDENTIALS_DIRECTORY".into(), "/c".into());
    environment.variables.extend([variable]);
    let load_path = |path: &str| load(&[Source::Path(path.into())], &environment);
    let loaded = load_path("/k/a.rc").expect("valid");
    assert_eq!(
        secrets(&loaded.settings),
        [Secret::new("inline"), Secret::new("special"), Secret::new("file")]
    );
    let loaded = load_path("/g.rc").expect("valid");
    assert_eq!(secrets(&loaded.settings), [Secret::new("general")]);
}

#[test]
fn a_secret_for_everybody_to_read_is_a_warning_for_each_file() {
    let mut environment = Fake::with(&[(
        "/k.rc",
        "frontend=r.b\nkitesecret=s3cret\nservice_on=http:a.b:h:80:s3cret
        service_on=http:b.b:h:80:@kitesecret\nservice_cfg=a.b/80:password/bob:s3cret",
    )]);
    let load_it = |environment: &Fake| load(&[Source::Path("/k.rc".into())], environment);
    assert!(load_it(&environment).expect("valid").warnings.is_empty());
    environment.readable.push("/k.rc".into());
    let warnings = load_it(&environment).expect("valid").warnings.to_string();
    assert!(warnings.ends_with("run: chmod o-r /k.rc"), "{warnings}");
    assert_eq!(warnings.lines().count(), 1);

    let public = "frontend=r.b\nkitesecret_file=s\nservice_on=http:a.b:h:80:@kitesecret";
    let mut environment = Fake::with(&[("/k.rc", public), ("/s", "s3cret")]);
    environment.readable.push("/k.rc".into());
    assert!(load_it(&environment).expect("valid").warnings.is_empty());
}

#[test]
fn flags_are_for_the_port_that_they_name() {
    let settings = settings(&format!(
        "{RELAY}service_cfg=A.b/80:proxyproto:True\nservice_cfg=a.b/22:proxyproto:v2
        service_on=http,https,ssh,http-80:a.b:localhost:80:s
        service_on=http:other.b:localhost:80:s"
    ));
    let versions: Vec<_> = settings.kites.iter().map(|kite| kite.flags.proxy_protocol).collect();
    let (v1, v2) = (Some(ProxyProtocol::V1), Some(ProxyProtocol::V2));
    assert_eq!(versions, [v1, v1, v2, v1, None]);
}

#[test]
fn one_line_turns_every_firewall_off() {
    let settings = settings(&format!(
        "{RELAY}service_on=http,websocket:a.b:h:80:s
        insecure\nservice_cfg=a.b/80:insecure:False"
    ));
    assert!(settings.kites.iter().all(|kite| !kite.url_firewall()));
}

#[test]
fn the_firewall_is_off_for_known_visitors_only() {
    let settings = settings(&format!(
        "{RELAY}service_on=http,raw-22:a.b:h:80:s\nservice_on=http:b.b:h:80:s
        service_cfg=b.b/80:ip/192.0.2.1:True"
    ));
    let guarded: Vec<_> = settings.kites.iter().map(KiteSettings::url_firewall).collect();
    assert_eq!(guarded, [true, false, false]);
}

#[test]
fn kites_are_bounded() {
    let mut text = RELAY.to_owned();
    for number in 0..=MAX_KITES {
        text.push_str(&format!("service_on=http:k{number}.b:h:80:s\n"));
    }
    let error = load_text(&text).expect_err("too many");
    assert!(error.to_string().contains("more than 1024 kites"));
}

const FILE: &str = "frontend=file.b\nfe_certname=name.b\nkitesecret=default
    service_on=http:a.b:localhost:80:own\nservice_off=ssh:off.b:localhost:22:off
    service_cfg=a.b/80:insecure:True\nservice_cfg=a.b/80:rawheaders:True";

fn load_short(words: &str, options: &[&str]) -> Settings {
    let environment = Fake::with(&[("/k.rc", FILE), ("/s", "typed")]);
    let options = options.iter().map(|line| (*line).to_owned()).collect();
    let sources =
        [Source::Path("/k.rc".into()), Source::Options(options), Source::Kites(short(words))];
    match load(&sources, &environment) {
        Ok(loaded) => loaded.settings,
        Err(error) => panic!("{words}: {error}"),
    }
}

#[test]
fn the_short_form_takes_relay_and_secret_from_the_file() {
    let settings = load_short("8080 a.b AND 22 ssh://off.b AND 80 new.b", &[]);
    assert_eq!(settings.relays[0].host, "file.b");
    let kites: Vec<_> = settings.kites.iter().map(|kite| kite.origin.to_string()).collect();
    assert_eq!(kites, ["localhost:8080", "localhost:22", "localhost:80"]);
    assert_eq!(
        secrets(&settings),
        [Secret::new("own"), Secret::new("off"), Secret::new("default")]
    );
}

#[test]
fn flags_of_the_short_form_replace_those_of_the_file() {
    let settings = load_short("8080 a.b", &[]);
    assert!(settings.kites[0].flags.insecure && settings.kites[0].flags.raw_headers);
    let settings = load_short("8080 a.b +rewritehost", &[]);
    let expected = KiteFlags { rewrite_host: Some(RewriteHost::Origin), ..KiteFlags::default() };
    assert_eq!(settings.kites[0].flags, expected);
}

#[test]
fn the_command_line_says_relay_and_secret_anew() {
    let settings = load_short("80 @kitename", &["frontend=typed.b:8443", "kitesecret_file=/s"]);
    assert_eq!(settings.kites[0].id.to_string(), "http:a.b");
    let relays: Vec<_> = settings.relays.iter().map(ToString::to_string).collect();
    assert_eq!(relays, ["typed.b:8443"]);
    let plain = TlsSettings { names: Vec::new(), roots: None };
    assert_eq!(settings.security, Security::Tls(plain));
    assert_eq!(secrets(&settings), [Secret::new("typed")]);
    let settings = load_short("80 a.b", &["frontend=typed.b", "nossl"]);
    assert_eq!(settings.security, Security::Plain);
}

#[test]
fn what_the_short_form_lacks_names_the_line_and_the_file() {
    let sources =
        [Source::WriteTo("/home/me/.kitelet.rc".into()), Source::Kites(short("8080 a.b"))];
    let error = load(&sources, &Fake::default()).expect_err("nothing is there");
    assert_eq!(
        error.to_string(),
        "/home/me/.kitelet.rc: kitesecret: there is no secret for http:a.b; write \
         kitesecret = SECRET in /home/me/.kitelet.rc and run chmod 600 /home/me/.kitelet.rc, or \
         use --secret-file PATH\n\
         /home/me/.kitelet.rc: frontend: there is no relay; write frontend = HOST:PORT, or \
         defaults for pagekite.net, in /home/me/.kitelet.rc"
    );
}

/// Lines that are nearly right, so that the deeper parts are reached.
fn near_lines() -> impl Strategy<Value = String> {
    let option = prop::sample::select(vec![
        "service_on",
        "service_off",
        "service_cfg",
        "service_name",
        "frontend",
        "frontends",
        "fe_certname",
        "ca_certs",
        "errorurl",
        "kitename",
        "kitesecret",
        "kitesecret_file",
        "keepalive",
        "buffers",
        "max_streams",
        "optfile",
        "optdir",
        "whitelabel",
        "proxy",
        "socksify",
        "noproxy",
        "dyndns",
        "-o",
        "--nossl",
        "defaults",
    ]);
    let value = "[a-c.:/@=,+%* \\[\\]0-9é-]{0,24}|http:a.b:[a-z.:\\[\\]0-9]{0,12}:s|a.b/80:(ip|password|user)/[a-f:./0-9]{0,12}:(True|x)?|unix:/a";
    (option, value).prop_map(|(option, value)| format!("{option} = {value}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let mut environment = Fake::with(&[]);
        environment.files.insert("/k.rc".into(), bytes);
        let _ = load(&[Source::Path("/k.rc".into())], &environment);
    }

    #[test]
    fn nearly_right_lines_never_panic(lines in prop::collection::vec(near_lines(), 0..24)) {
        let text = lines.join("\n");
        match load_text(&text) {
            Ok(loaded) => {
                prop_assert!(!loaded.settings.kites.is_empty());
                prop_assert!(!loaded.settings.relays.is_empty());
                let _ = crate::cli::describe(&loaded);
            }
            Err(error) => prop_assert!(!error.mistakes.is_empty()),
        }
    }

    #[test]
    fn a_secret_is_never_told(line in "(service_on ?=|kitesecret ?=?|proxy ?= ?|torify=|proxy=socks5[:!]|service_cfg=)[a-z.:/0-9= ]{0,20}|[.:/0-9= ]{0,20}") {
        const SECRET: &str = "ZQXJKVZQXJKV";
        let text = format!("{line}{SECRET}\nservice_on=http:a.b:h:1:{SECRET}\n{line}:{SECRET}");
        let told = match load_text(&text) {
            Ok(loaded) => format!("{loaded:?} {}", loaded.warnings),
            Err(error) => format!("{error:?} {error}"),
        };
        prop_assert!(!told.contains(SECRET), "{}", told);
    }

    #[test]
    fn arbitrary_words_never_panic(words in prop::collection::vec("[a-c.:/@=,+ 0-9\\[\\]]{0,12}|AND", 0..8)) {
        if let Ok(kites) = read_short_form(&words) {
            let _ = load(&[Source::Kites(kites)], &Fake::default());
        }
    }
}
