//! How an option is looked up: by name, by an older or clearer name, by an
//! abbreviation that only one name of PageKite's starts with, or by PageKite's
//! letter. The options themselves stand in [`super::table`]. An option has a
//! meaning for each end, since both read the same files.

use super::nearest::nearest;
#[cfg(feature = "relay")]
use super::relay_end::{OURS_FOR_RELAYS, OwnAction};
use super::table::{FOR_AGENTS, OURS, PAGEKITE};

/// The end that reads the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The end with the services.
    Agent,
    /// The public end.
    #[cfg(feature = "relay")]
    Relay,
}

impl Role {
    /// A good name for the first file of a folder.
    pub(super) fn first_file(self) -> &'static str {
        match self {
            Self::Agent => "10_account.rc",
            #[cfg(feature = "relay")]
            Self::Relay => "10_relay.rc",
        }
    }
}

/// One option and what it means to Kitelet.
#[derive(Debug)]
pub(super) struct Row {
    /// The canonical name: PageKite's wherever it has one.
    pub(super) name: &'static str,
    /// PageKite's older names.
    pub(super) old_names: &'static [&'static str],
    /// Clearer names that Kitelet adds.
    pub(super) clear_names: &'static [&'static str],
    /// PageKite's letter for it.
    pub(super) letter: Option<char>,
    /// Whether something follows the `=`.
    pub(super) value: Value,
    /// What it does in an agent.
    pub(super) meaning: Meaning<Action>,
    /// What it does in a relay.
    #[cfg(feature = "relay")]
    pub(super) relay: Meaning<RelayAction>,
}

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// It stands alone.
    Alone,
    /// `option = VALUE`; the value may be empty.
    Needed,
    /// Both are read, for old files.
    Either,
}

/// What an option is to one of the ends, whose ways of doing are `A`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<A> {
    /// It is done.
    Handled(A),
    /// Nothing is lost without it, nothing is said.
    Harmless,
    /// It is not used: a warning that says what to do instead.
    Instead(&'static str),
    /// Going on without it would be wrong: a mistake that says the mend.
    Refused(&'static str),
}

/// The options that an agent does, one for each way of doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    OptFile,
    OptDir,
    KiteName,
    KiteSecret,
    KiteSecretFile,
    ServiceOn,
    ServiceOff,
    ServiceName,
    ServiceFlag,
    Defaults,
    WhiteLabel,
    WhiteLabelTls,
    Frontend,
    Frontends,
    NoFrontend,
    SpareRelays,
    NewNames,
    DynDns,
    KeepAlive,
    Retry,
    LateRetry,
    Proxy,
    SocksProxy,
    NoProxy,
    Insecure,
    ErrorUrl,
    NoSsl,
    CertificateName,
    Roots,
    Compress(bool),
    WebSocket,
    Buffers,
    MaxStreams,
    StateDirectory,
    RuntimeDirectory,
    WebServer,
}

/// The options that a relay does: PageKite's, and those of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelayAction {
    Host,
    Ports,
    PortAlias,
    Protocols,
    RawPorts,
    Domain,
    AuthDomain,
    AuthThreads,
    TlsEndpoint,
    TlsDefault,
    SelfSign,
    VisitorRule,
    TunnelRule,
    AddressRate,
    MessageOfTheDay,
    ErrorUrl,
    RunAs,
    Compress(bool),
    Buffers,
    KeepAlive,
    MaxStreams,
    /// Those that only Kitelet's relay has.
    #[cfg(feature = "relay")]
    Own(OwnAction),
}

/// What a typed name turns out to be.
#[derive(Debug)]
pub(super) enum Lookup {
    /// This option.
    Found(&'static Row),
    /// An abbreviation of several options.
    Ambiguous(Vec<&'static str>),
    /// No option; the nearest name, if one is near.
    Unknown(Option<&'static str>),
}

/// Finds the option that `word` names. PageKite's abbreviations go before
/// names of ours, so that none of ours can make an old file ambiguous; for an
/// agent they go even before whole names that only a relay of ours has
/// (`kites` is short for `kitesecret`).
pub(super) fn find(word: &str, role: Role) -> Lookup {
    let named = |rows: &'static [Row]| rows.iter().find(|row| row.names().any(|name| name == word));
    let exact = own_rows(role).iter().find_map(|rows| named(rows));
    if let Some(row) = exact {
        return Lookup::Found(row);
    }
    if word.is_empty() {
        return Lookup::Unknown(None);
    }
    for rows in ALL_ROWS {
        if let Some(row) = named(rows) {
            return Lookup::Found(row);
        }
        let mut matches =
            rows.iter().filter(|row| row.rc_names().any(|name| name.starts_with(word)));
        if let Some(first) = matches.next() {
            let others: Vec<_> = matches.map(|row| row.name).collect();
            if others.is_empty() {
                return Lookup::Found(first);
            }
            let names = std::iter::once(first.name).chain(others);
            return Lookup::Ambiguous(names.collect());
        }
    }
    Lookup::Unknown(nearest(word, own_rows(role).iter().copied().flatten().flat_map(Row::names)))
}

/// Finds the option of a PageKite letter.
pub(super) fn find_letter(letter: char) -> Option<&'static Row> {
    PAGEKITE.iter().find(|row| row.letter == Some(letter))
}

#[cfg(feature = "relay")]
const ALL_ROWS: &[&[Row]] = &[PAGEKITE, OURS, OURS_FOR_RELAYS];
#[cfg(not(feature = "relay"))]
const ALL_ROWS: &[&[Row]] = &[PAGEKITE, OURS];

/// The tables without what only the other end can have.
fn own_rows(role: Role) -> &'static [&'static [Row]] {
    match role {
        Role::Agent => &[PAGEKITE, OURS],
        #[cfg(feature = "relay")]
        Role::Relay => ALL_ROWS,
    }
}

impl Row {
    /// Every name of the option.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.rc_names().chain(self.clear_names.iter().copied())
    }

    /// The names that may be abbreviated.
    fn rc_names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.old_names.iter().copied())
    }

    /// An option with its meaning for agents. What an agent does is not for a
    /// relay, and the rest is the same there, unless [`Self::relay`] says more.
    pub(super) const fn new(name: &'static str, value: Value, meaning: Meaning<Action>) -> Self {
        let row = Self {
            name,
            old_names: &[],
            clear_names: &[],
            letter: None,
            value,
            meaning,
            #[cfg(feature = "relay")]
            relay: Meaning::Harmless,
        };
        row.relay(match meaning {
            Meaning::Handled(_) => Meaning::Instead(FOR_AGENTS),
            Meaning::Harmless => Meaning::Harmless,
            Meaning::Instead(text) => Meaning::Instead(text),
            Meaning::Refused(text) => Meaning::Refused(text),
        })
    }

    /// Sets what it is to a relay.
    #[cfg(feature = "relay")]
    pub(super) const fn relay(mut self, meaning: Meaning<RelayAction>) -> Self {
        self.relay = meaning;
        self
    }

    /// There is no relay in this build.
    #[cfg(not(feature = "relay"))]
    pub(super) const fn relay(self, _: Meaning<RelayAction>) -> Self {
        self
    }

    pub(super) const fn letter(mut self, letter: char) -> Self {
        self.letter = Some(letter);
        self
    }

    pub(super) const fn old(mut self, names: &'static [&'static str]) -> Self {
        self.old_names = names;
        self
    }

    pub(super) const fn clearer(mut self, names: &'static [&'static str]) -> Self {
        self.clear_names = names;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options that pagekite.py accepts (features A, "full long-option
    /// list"), the no-ops and the unhandled ones included.
    const PAGEKITES: &str = "
        clean optfile optdir savefile save settings help noloop shell friendly
        kitename kitesecret service_on service_off service_cfg backend define_backend be_config
        webpath add only remove disable list signup service_xmlrpc
        defaults whitelabel whitelabels local frontend nofrontend frontends all noall new dyndns
        keepalive proxy noproxy torify socksify noprobes insecure watch errorurl
        nossl nopyopenssl fe_certname fe_nocertcheck ca_certs tls_default tls_endpoint tls_ciphers
        tls_legacy selfsign pemfile
        isfrontend host ports protos portalias rawports domain authdomain auththreads
        authfail_closed motd upgradeinfo noupgradeinfo dns_hints overload overload_cpu overload_mem
        overload_file ratelimit_ips client_acl tunnel_acl accept_acl_file
        httpd httppass controlpanel controlpass nullui remoteui uiport
        logfile loglevel debugio daemonize nodaemonize pidfile runas watchdog
        nozchunks sslzlib wschunks buffers max_read_bytes select_loop_min_ms
        nocrashreport reloadfile autosave noautosave webroot webaccess webindexes delete_backend
        register noisfrontend appver abort_not_configured";

    fn all_rows() -> impl Iterator<Item = &'static Row> {
        ALL_ROWS.iter().copied().flatten()
    }

    #[test]
    fn knows_every_option_of_pagekites() {
        for name in PAGEKITES.split_whitespace() {
            let Lookup::Found(row) = find(name, Role::Agent) else {
                panic!("{name} is missing");
            };
            assert!(row.rc_names().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn knows_every_letter_of_pagekites() {
        for letter in "oOSHPXLZIfAhpaDUNE".chars() {
            assert!(find_letter(letter).is_some(), "{letter}");
        }
    }

    #[test]
    fn no_name_is_given_twice() {
        let mut names: Vec<_> = all_rows().flat_map(Row::names).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for row in all_rows() {
            let spelled = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(row.names().all(spelled), "{}", row.name);
        }
    }

    #[test]
    fn reads_abbreviations_as_getopt_does() {
        for (typed, name) in [
            ("kiten", "kitename"),
            ("def", ""),
            ("defa", "defaults"),
            ("fronten", ""),
            ("frontend", "frontend"),
            ("rel", "reloadfile"),
            ("relay", "frontend"),
            ("back", "service_on"),
            ("max_s", "max_streams"),
        ] {
            match find(typed, Role::Agent) {
                Lookup::Found(row) => assert_eq!(row.name, name, "{typed}"),
                Lookup::Ambiguous(_) => assert_eq!(name, "", "{typed}"),
                Lookup::Unknown(_) => panic!("{typed}"),
            }
        }
    }

    #[test]
    fn suggests_the_nearest_name() {
        for (typed, name) in [
            ("authfail_closes", "authfail_closed"),
            ("kite_secret", "kitesecret"),
            ("service_no", "service_on"),
        ] {
            let found = find(typed, Role::Agent);
            assert!(matches!(found, Lookup::Unknown(Some(near)) if near == name), "{typed}");
        }
        assert!(matches!(find("nowebpath_", Role::Agent), Lookup::Unknown(_)));
    }

    #[cfg(feature = "relay")]
    #[test]
    fn a_name_of_the_relays_changes_no_file_of_an_agent() {
        for (role, typed, name) in [
            (Role::Agent, "kites", "kitesecret"),
            (Role::Agent, "max_kites", "max_kites"),
            (Role::Agent, "access_log", "access_log"),
            (Role::Agent, "ratel", "ratelimit_ips"),
            (Role::Relay, "kites", "kites"),
            (Role::Relay, "access_log", "access_log"),
            (Role::Relay, "acme", "acme_webroot"),
            (Role::Relay, "ratel", "ratelimit_ips"),
        ] {
            let found = find(typed, role);
            assert!(matches!(found, Lookup::Found(row) if row.name == name), "{role:?} {typed}");
        }
        assert!(matches!(find("max_vistors", Role::Agent), Lookup::Unknown(None)));
        let near = find("max_vistors", Role::Relay);
        assert!(matches!(near, Lookup::Unknown(Some("max_visitors"))));
    }

    #[cfg(feature = "relay")]
    #[test]
    fn what_only_a_relay_does_is_told_to_an_agent() {
        for row in all_rows() {
            if matches!(row.relay, Meaning::Handled(_))
                && !matches!(row.meaning, Meaning::Handled(_))
            {
                let told =
                    matches!(row.meaning, Meaning::Instead(text) if text.contains("kitelet relay"));
                assert!(told || matches!(row.name, "runas" | "selfsign"), "{}", row.name);
            }
        }
    }
}
