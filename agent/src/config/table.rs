//! Every option there is, with what it means to Kitelet. PageKite's come first,
//! in the order of its own documentation, so that a file that works there is
//! understood here; then the few that only Kitelet has. `Row::new` says what an
//! option is to an agent, `.relay` what it is to a relay, where that differs.

use super::options::{
    Action::*,
    Meaning::{Handled, Harmless, Instead, Refused},
    RelayAction as R, Row,
    Value::{Alone, Either, Needed},
};

/// What a relay says of an option that is the agent's.
pub(super) const FOR_AGENTS: &str = "it is for the agent, the end with the services: keep it for \
     kitelet run, or remove this line";
/// What an agent says of an option that is the relay's.
pub(super) const RELAY: &str = "it is for a relay, and this is the end with the services: keep it \
     for kitelet relay, or remove this line";

const EDIT: &str = "Kitelet does not edit files: write or remove service_on lines by hand";
const MANUAL: &str = "there is no interactive mode: remove this line";
const SYSTEMD: &str = "kitelet stays in the foreground: let systemd or procd start it";
const LOG: &str = "kitelet writes its log to standard error: let the service manager keep it";
const NO_WEB_SERVER: &str = "there is no built-in web server: run one of your own (such as \
     busybox httpd -p 127.0.0.1:8080 -h FOLDER) and publish its port with service_on";

/// The options of PageKite.
pub(super) const PAGEKITE: &[Row] = &[
    // Configuration.
    Row::new("clean", Alone, Harmless),
    Row::new("optfile", Needed, Handled(OptFile)).letter('o').clearer(&["include"]),
    Row::new("optdir", Needed, Handled(OptDir)).letter('O').clearer(&["include_dir"]),
    Row::new("savefile", Needed, Harmless).letter('S'),
    Row::new("save", Alone, Instead(EDIT)).relay(Instead("kitelet does not edit rc files; kitelet relay add NAME adds a kite")),
    Row::new("settings", Alone, Instead("run: kitelet check -c FILE")).relay(Instead("run: kitelet relay --check")),
    Row::new("help", Alone, Instead("run: kitelet --help")).relay(Instead("run: kitelet relay --help")),
    Row::new("appver", Alone, Instead("run: kitelet --version")),
    Row::new("noloop", Alone, Harmless),
    Row::new("shell", Alone, Instead(MANUAL)),
    Row::new("friendly", Alone, Instead(MANUAL)),
    Row::new(
        "abort_not_configured",
        Either,
        Refused(
            "the configuration is not finished; set kitename, kitesecret and your services, \
             then remove this line",
        ),
    ).relay(Refused("the configuration is not finished; set kites, ports and certificates, then remove this line")),
    // Kites and services.
    Row::new("kitename", Needed, Handled(KiteName)),
    Row::new("kitesecret", Needed, Handled(KiteSecret)),
    Row::new("service_on", Needed, Handled(ServiceOn)).old(&["backend"]).clearer(&["service"]),
    Row::new("service_off", Needed, Handled(ServiceOff)).old(&["define_backend"]),
    Row::new("service_cfg", Needed, Handled(ServiceFlag))
        .old(&["be_config"])
        .clearer(&["service_flag"]),
    Row::new("webpath", Needed, Instead(NO_WEB_SERVER)).relay(Instead(NO_PAGES)),
    Row::new("add", Alone, Instead(EDIT)).relay(Instead("run: kitelet relay add NAME")),
    Row::new("only", Alone, Instead(EDIT)).relay(Instead(FOR_AGENTS)),
    Row::new("remove", Alone, Instead(EDIT)).relay(Instead("take the line of the kite out of the kites file")),
    Row::new("disable", Alone, Instead(EDIT)).relay(Instead(FOR_AGENTS)),
    Row::new("list", Alone, Instead("run: kitelet check -c FILE")).relay(Instead("run: kitelet relay --check")),
    Row::new(
        "signup",
        Alone,
        Instead("make the kite on your relay's web page, then write kitename and kitesecret"),
    ).relay(Instead(FOR_AGENTS)),
    Row::new("service_xmlrpc", Needed, Harmless),
    // The way to the relay.
    Row::new("defaults", Alone, Handled(Defaults)),
    Row::new("whitelabel", Needed, Handled(WhiteLabel)),
    Row::new("whitelabels", Needed, Handled(WhiteLabelTls)),
    Row::new(
        "local",
        Needed,
        Instead("a service is published through a relay only: write frontend = HOST:PORT"),
    ).relay(Instead(FOR_AGENTS)),
    Row::new("frontend", Needed, Handled(Frontend)).clearer(&["relay"]),
    Row::new("nofrontend", Needed, Handled(NoFrontend)),
    Row::new("frontends", Needed, Handled(Frontends)),
    Row::new("spare_relays", Needed, Handled(SpareRelays)),
    Row::new("all", Alone, Instead("kitelet never gives up on a kite: it goes on trying")).relay(Instead(FOR_AGENTS))
        .letter('a'),
    Row::new("noall", Alone, Harmless),
    Row::new("new", Alone, Handled(NewNames)).letter('N'),
    Row::new("dyndns", Needed, Handled(DynDns)).letter('D'),
    Row::new("retry_max", Needed, Handled(Retry)),
    Row::new("late_retry_max", Needed, Handled(LateRetry)),
    Row::new("keepalive", Needed, Handled(KeepAlive)).relay(Handled(R::KeepAlive)),
    Row::new("proxy", Needed, Handled(Proxy)),
    Row::new("noproxy", Alone, Handled(NoProxy)).relay(Harmless),
    Row::new("torify", Needed, Handled(SocksProxy)),
    Row::new("socksify", Needed, Handled(SocksProxy)),
    Row::new("noprobes", Alone, Harmless),
    Row::new("insecure", Alone, Handled(Insecure)),
    Row::new(
        "watch",
        Needed,
        Instead("visitors' data is never shown: look at the log of your service"),
    ),
    Row::new("errorurl", Needed, Handled(ErrorUrl)).relay(Handled(R::ErrorUrl)).letter('E'),
    // TLS.
    Row::new("nossl", Alone, Handled(NoSsl)).clearer(&["plain"]),
    Row::new("nopyopenssl", Alone, Harmless),
    Row::new("fe_certname", Needed, Handled(CertificateName)).clearer(&["relay_certname"]),
    Row::new(
        "fe_nocertcheck",
        Alone,
        Refused(
            "TLS without a check protects nothing; write fe_certname = NAME/SHA1HEX to accept the \
             relay's own certificate, or nossl to go without TLS",
        ),
    ).relay(Instead(FOR_AGENTS)),
    Row::new("ca_certs", Needed, Handled(Roots)),
    Row::new("tls_default", Needed, Instead(RELAY)).relay(Handled(R::TlsDefault)),
    Row::new("tls_endpoint", Needed, Instead(RELAY)).relay(Handled(R::TlsEndpoint)),
    Row::new("tls_ciphers", Needed, Instead(RELAY)).relay(Instead(NO_OLD_TLS)),
    Row::new("tls_legacy", Alone, Instead(RELAY)).relay(Instead(NO_OLD_TLS)),
    Row::new("selfsign", Alone, Instead(RELAY)).relay(Handled(R::SelfSign)),
    Row::new("pemfile", Needed, Instead(NO_WEB_SERVER)).relay(Instead("write tls_endpoint = NAME:FILE")).letter('P'),
    // A relay's own.
    Row::new("isfrontend", Alone, Instead(RELAY)).relay(Harmless).letter('f'),
    Row::new("noisfrontend", Alone, Harmless),
    Row::new("host", Needed, Instead(RELAY)).relay(Handled(R::Host)).letter('h'),
    Row::new("ports", Needed, Instead(RELAY)).relay(Handled(R::Ports)).letter('p'),
    Row::new("protos", Needed, Instead(RELAY)).relay(Handled(R::Protocols)),
    Row::new("portalias", Needed, Instead(RELAY)).relay(Handled(R::PortAlias)),
    Row::new("rawports", Needed, Instead(RELAY)).relay(Handled(R::RawPorts)),
    Row::new("domain", Needed, Instead(RELAY)).relay(Handled(R::Domain)),
    Row::new("authdomain", Needed, Instead(RELAY)).relay(Handled(R::AuthDomain)).letter('A'),
    Row::new("auththreads", Needed, Instead(RELAY)).relay(Handled(R::AuthThreads)),
    Row::new("authfail_closed", Alone, Instead(RELAY)).relay(Harmless),
    Row::new("motd", Needed, Instead(RELAY)).relay(Handled(R::MessageOfTheDay)),
    Row::new("upgradeinfo", Needed, Instead(RELAY)).relay(Instead("no agent acts on it: remove this line")),
    Row::new("noupgradeinfo", Alone, Harmless),
    Row::new("dns_hints", Needed, Instead(RELAY)).relay(Instead("no agent needs it: remove this line")),
    Row::new("overload", Needed, Instead(RELAY)).relay(Instead(OVERLOAD)),
    Row::new("overload_cpu", Needed, Instead(RELAY)).relay(Instead(OVERLOAD)),
    Row::new("overload_mem", Needed, Instead(RELAY)).relay(Instead(OVERLOAD)),
    Row::new("overload_file", Needed, Instead(RELAY)).relay(Instead(OVERLOAD)),
    Row::new("ratelimit_ips", Needed, Instead(RELAY)).relay(Handled(R::AddressRate)),
    Row::new("client_acl", Needed, Instead(ACCESS)).relay(Handled(R::VisitorRule)),
    Row::new("tunnel_acl", Needed, Instead(RELAY)).relay(Handled(R::TunnelRule)),
    Row::new("accept_acl_file", Needed, Instead(RELAY)).relay(Refused("addresses are let in by lines of their own, and going on without yours would let in everybody; write client_acl and tunnel_acl for each line of the file, then remove this one")),
    Row::new("register", Either, Refused("PageKite has no such option any more; remove this line")),
    // Web server and user interfaces.
    Row::new("httpd", Needed, Handled(WebServer)).relay(Instead(NO_PAGES)).letter('H'),
    Row::new("httppass", Needed, Instead(NO_WEB_SERVER)).relay(Instead(NO_PAGES)).letter('X'),
    Row::new("controlpanel", Alone, Instead(NO_WEB_SERVER)).relay(Instead(NO_PAGES)),
    Row::new("controlpass", Alone, Instead(NO_WEB_SERVER)).relay(Instead(NO_PAGES)),
    Row::new("nullui", Alone, Harmless),
    Row::new("remoteui", Alone, Instead(MANUAL)),
    Row::new("uiport", Needed, Instead(MANUAL)),
    // The process.
    Row::new("logfile", Needed, Instead(LOG)).letter('L'),
    Row::new("loglevel", Needed, Instead(LOG)),
    Row::new(
        "debugio",
        Alone,
        Instead("visitors' data is never logged: look at the log of your service"),
    ),
    Row::new("daemonize", Alone, Instead(SYSTEMD)).letter('Z'),
    Row::new("nodaemonize", Alone, Harmless),
    Row::new("pidfile", Needed, Instead(SYSTEMD)).letter('I'),
    Row::new(
        "runas",
        Needed,
        Instead("set the user in the service manager: User=NAME in the systemd unit"),
    ).relay(Handled(R::RunAs))
    .letter('U'),
    Row::new(
        "watchdog",
        Needed,
        Instead("the service manager watches: WatchdogSec= in the systemd unit"),
    ),
    // Tuning.
    Row::new("nozchunks", Alone, Handled(Compress(false))).relay(Handled(R::Compress(false))),
    Row::new("sslzlib", Alone, Harmless),
    Row::new("wschunks", Alone, Handled(WebSocket)).relay(Instead(FOR_AGENTS)),
    Row::new("buffers", Needed, Handled(Buffers)).relay(Handled(R::Buffers)),
    Row::new("max_read_bytes", Needed, Harmless),
    Row::new("select_loop_min_ms", Needed, Harmless),
    // What PageKite itself reads and forgets.
    Row::new("nocrashreport", Either, Harmless),
    Row::new("reloadfile", Either, Harmless),
    Row::new("autosave", Either, Harmless),
    Row::new("noautosave", Either, Harmless),
    Row::new("webroot", Either, Harmless),
    Row::new("webaccess", Either, Harmless),
    Row::new("webindexes", Either, Harmless),
    Row::new("delete_backend", Either, Harmless),
];

const ACCESS: &str = "it is for a relay: keep it for kitelet relay; to let in some addresses \
     only here, write service_cfg = NAME/80 : ip/192.0.2.0/24 : True";
const NO_PAGES: &str =
    "there is no built-in web server, and the relay needs none: remove this line";
const OVERLOAD: &str = "agents are not asked to go elsewhere; bound what the relay bears with \
     max_visitors, max_tunnels and max_connections";
const NO_OLD_TLS: &str = "TLS 1.2 and 1.3 with their safe ciphers are used and nothing else: \
     remove this line";

/// The options that only Kitelet has.
pub(super) const OURS: &[Row] = &[
    Row::new("kitesecret_file", Needed, Handled(KiteSecretFile)),
    Row::new("service_name", Needed, Handled(ServiceName)),
    Row::new("state_directory", Needed, Handled(StateDirectory)),
    Row::new("runtime_directory", Needed, Handled(RuntimeDirectory)),
    Row::new("max_streams", Needed, Handled(MaxStreams)).relay(Handled(R::MaxStreams)),
    Row::new("zchunks", Alone, Handled(Compress(true))).relay(Handled(R::Compress(true))),
];
