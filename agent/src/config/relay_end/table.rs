//! The options that only Kitelet's relay has, to which an agent says where they
//! belong. Not in a build without the relay.

use super::super::options::{
    Meaning::{Handled, Instead},
    RelayAction::Own,
    Row,
    Value::{self, Alone, Needed},
};
use super::super::table::RELAY;
use OwnAction::*;

/// What a relay does for options that only Kitelet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum OwnAction {
    Kites,
    NameServer,
    AcmeWebroot,
    ErrorPage,
    RevealKites,
    AccessLog,
    AccessLogFormat,
    Chroot,
    StopTimeout,
    MaxVisitors,
    MaxTunnels,
    MaxKites,
    MaxConnections,
    ConnectionRate,
    FailureRate,
    QuotaBytes,
    QuotaConnections,
    QuotaStreams,
}

/// The options of the relay.
pub(in super::super) const OURS_FOR_RELAYS: &[Row] = &[
    row("kites", Needed, Kites),
    row("nameserver", Needed, NameServer),
    row("acme_webroot", Needed, AcmeWebroot),
    row("errorpage", Needed, ErrorPage),
    row("reveal_kites", Alone, RevealKites),
    row("access_log", Needed, AccessLog),
    row("access_log_format", Needed, AccessLogFormat),
    row("chroot", Needed, Chroot),
    row("stop_timeout", Needed, StopTimeout),
    row("max_visitors", Needed, MaxVisitors),
    row("max_tunnels", Needed, MaxTunnels),
    row("max_kites", Needed, MaxKites),
    row("max_connections", Needed, MaxConnections),
    row("ratelimit_conns", Needed, ConnectionRate),
    row("ratelimit_auth", Needed, FailureRate),
    row("quota_bytes", Needed, QuotaBytes),
    row("quota_conns", Needed, QuotaConnections),
    row("quota_streams", Needed, QuotaStreams),
];

const fn row(name: &'static str, value: Value, action: OwnAction) -> Row {
    Row::new(name, value, Instead(RELAY)).relay(Handled(Own(action)))
}
