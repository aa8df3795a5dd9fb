//! A TCP connection that leads to a relay: straight, or through a proxy that
//! looks the relay's name up and connects to it.

use std::net::{IpAddr, TcpStream};
use std::time::Instant;

use async_io::Async;

use super::addresses::Addresses;
use super::connector::Timeouts;
use super::dial::{DialError, connect_any};
use super::open_error::OpenFailure;
use super::proxy_error::{ProxyError, ProxyFailure};
use super::resolve::resolve;
use super::socket::SocketOptions;
use super::{http_proxy, socks5, wait};
use crate::config::{Proxy, ProxyKind, ProxySettings, RelayAddress};

/// Longest name of a host in a request to a proxy: SOCKS has one byte for the
/// length (RFC 1928 section 4), DNS names are no longer either.
const MAX_HOST_BYTES: usize = 255;

/// Connects to `relay` the way that `proxy` says. What is `known` of its
/// addresses is of use without a proxy only.
pub(super) async fn reach(
    relay: &RelayAddress,
    known: &Addresses,
    proxy: &ProxySettings,
    options: SocketOptions,
    timeouts: Timeouts,
) -> Result<Async<TcpStream>, OpenFailure> {
    match proxy.to(relay) {
        None if relay.is_onion() => Err(OpenFailure::Onion),
        None => straight(relay, known, options, timeouts).await,
        Some(proxy) => through(proxy, relay, options, timeouts).await.map_err(|failure| {
            OpenFailure::Proxy(Box::new(ProxyError { proxy: proxy.to_string(), failure }))
        }),
    }
}

async fn straight(
    relay: &RelayAddress,
    known: &Addresses,
    options: SocketOptions,
    timeouts: Timeouts,
) -> Result<Async<TcpStream>, OpenFailure> {
    let addresses = known.of(relay).await.map_err(OpenFailure::Resolve)?;
    let deadline = Instant::now() + timeouts.dial;
    let socket =
        connect_any(&relay.host, addresses, options, deadline).await.map_err(OpenFailure::Dial)?;
    known.reached.set(socket.get_ref().peer_addr().ok());
    Ok(socket)
}

/// Nothing but the proxy's own name is looked up here.
async fn through(
    proxy: &Proxy,
    relay: &RelayAddress,
    options: SocketOptions,
    timeouts: Timeouts,
) -> Result<Async<TcpStream>, ProxyFailure> {
    let RelayAddress { host, port } = relay;
    if host.len() > MAX_HOST_BYTES {
        return Err(ProxyFailure::Unaskable("the name of the relay has more than 255 bytes"));
    }
    if host.contains(':') && host.parse::<IpAddr>().is_err() {
        return Err(ProxyFailure::Unaskable(
            "an address of the relay with an interface (%) means nothing to a proxy; set noproxy",
        ));
    }
    let addresses = resolve(&proxy.host, proxy.port).await;
    let addresses = addresses.map_err(|error| ProxyFailure::Dial(DialError::Resolve(error)))?;
    let deadline = Instant::now() + timeouts.dial;
    let socket = connect_any(&proxy.host, addresses, options, deadline);
    let socket = socket.await.map_err(ProxyFailure::Dial)?;
    let credentials = proxy.credentials.as_ref();
    match proxy.kind {
        ProxyKind::Http => {
            let authority = relay.to_string();
            let deadline = Instant::now() + timeouts.proxy;
            wait::before(deadline, http_proxy::connect(&socket, &authority, credentials))
                .await
                .unwrap_or(Err(ProxyFailure::Timeout))?;
        }
        ProxyKind::Socks5 => {
            let times = (timeouts.connect, timeouts.proxy);
            socks5::connect(&socket, host, *port, credentials, times).await?;
        }
    }
    Ok(socket)
}
