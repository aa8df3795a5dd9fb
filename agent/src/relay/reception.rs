//! Receives whoever connects: finds out by what they send whether it is an
//! agent, a visitor or neither, takes TLS off where we hold the certificate,
//! and leads on (`protocol.md` 2 and 11).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Async;
use log::debug;

use super::access::is_let_in;
use super::access_log::Entry;
use super::arrival::{Arrival, ClientHello, look};
use super::caller::{Caller, From, plain_address};
use super::guest::Guest;
use super::head::{HEAD_TIME, read_head};
use super::page::{NotServed, Visit, wants_html};
use super::request::{ConnectRequest, is_connect};
use super::route::Wish;
use super::shared::Relay;
use super::{answer, blind, handshake, reply, visit, websocket};
use crate::net::{Connection, SocketOptions, TLS_ACCESS_DENIED, before};
use crate::wire::{KiteId, TunnelRequest};

/// Time that a connection has to say something. The reference gives five
/// seconds; a mobile link may lose a packet or two first.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(10);
/// Time for a TLS handshake.
const TLS_TIME: Duration = Duration::from_secs(15);
/// How often a connection may turn out to be something inside something else:
/// a CONNECT, TLS, a WebSocket, a tunnel.
const MAX_LAYERS: u32 = 5;
/// Bytes that are read at once while it is not known what comes.
const READ_BYTES: usize = 4096;

/// Where the reception of a caller has led.
enum Led {
    /// Somewhere, to the end.
    Away,
    /// To another layer.
    On(Caller),
    /// To the handshake of a tunnel, which has this head.
    Agent(Caller, Vec<u8>),
    /// To the kites that requests name; this is the head of the first one.
    Http(Caller, Vec<u8>),
    /// To a kite whose protocol is none of our business.
    Blind {
        caller: Caller,
        protocol: &'static str,
        host: String,
        /// What was read already.
        first: Vec<u8>,
    },
}

/// Receives a connection of one of our ports.
pub(super) async fn receive(
    relay: Rc<Relay>,
    socket: Async<std::net::TcpStream>,
    peer: SocketAddr,
    port: u16,
    kite: Option<KiteId>,
    guest: Guest,
) {
    if SocketOptions::VISITOR.apply(socket.get_ref()).is_err() {
        return;
    }
    let peer = plain_address(peer);
    let local = socket.get_ref().local_addr().map_or(peer.ip(), |local| plain_address(local).ip());
    let from = From { peer, local, port, tls: false, tls_name: None, named: None };
    let caller = Caller { connection: Connection::plain(socket), from, guest };
    if let Some(kite) = kite {
        if is_let_in(&relay.active().settings.visitor_rules, peer.ip()) {
            let (protocol, host) = (kite.protocol(), kite.domain());
            Box::pin(blind::serve(&relay, caller, protocol, host, Vec::new())).await;
        }
        return;
    }
    let mut led = Led::On(caller);
    // In boxes, so that a connection of days keeps nothing of its reception, and
    // no more memory than its own kind needs.
    for _ in 0..MAX_LAYERS {
        let Led::On(caller) = led else { break };
        led = Box::pin(lead(&relay, caller)).await;
    }
    match led {
        Led::Away | Led::On(_) => {}
        Led::Agent(caller, head) => Box::pin(handshake::take(&relay, caller, head)).await,
        Led::Http(caller, head) => Box::pin(visit::serve(&relay, caller, head)).await,
        Led::Blind { caller, protocol, host, first } => {
            Box::pin(blind::serve(&relay, caller, protocol, &host, first)).await;
        }
    }
}

async fn lead(relay: &Rc<Relay>, caller: Caller) -> Led {
    let (seen, arrival) = match look_at(relay, &caller.connection).await {
        Ok(found) => found,
        Err(error) => {
            debug!("{}: {error}", caller.from.peer);
            return Led::Away;
        }
    };
    match arrival {
        Arrival::Http => {
            caller.connection.put_back(&seen);
            lead_http(relay, caller).await
        }
        Arrival::Tls(hello) => lead_tls(relay, caller, &hello, seen).await,
        Arrival::OldTls | Arrival::BrokenTls(_) => {
            answer::answer(&caller.connection, &TLS_ACCESS_DENIED).await;
            Led::Away
        }
        Arrival::Xmpp { host } => lead_visitor(relay, caller, "xmpp", host, seen).await,
        Arrival::Minecraft { host, .. } => {
            lead_visitor(relay, caller, "minecraft", host, seen).await
        }
        Arrival::Irc { host, cut } => {
            let mut bytes = seen;
            bytes.drain(cut);
            lead_visitor(relay, caller, "irc", host, bytes).await
        }
        Arrival::Unknown(why) => {
            debug!("{}: closed, because {why}", caller.from.peer);
            Led::Away
        }
        // It is never the answer to the most that is read.
        Arrival::More => Led::Away,
    }
}

/// Reads until it is clear what comes.
async fn look_at(relay: &Relay, connection: &Connection) -> io::Result<(Vec<u8>, Arrival)> {
    let served = relay.active().served;
    let mut seen = Vec::new();
    let mut deadline = Instant::now() + FIRST_BYTE_TIME;
    loop {
        match read_more(connection, &mut seen) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) if length == seen.len() => deadline = Instant::now() + HEAD_TIME,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match before(deadline, connection.readable()).await {
                    Some(readable) => readable?,
                    None => return Err(io::ErrorKind::TimedOut.into()),
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        match look(&seen, served) {
            Arrival::More if Instant::now() < deadline => {}
            Arrival::More => return Err(io::ErrorKind::TimedOut.into()),
            arrival => return Ok((seen, arrival)),
        }
    }
}

fn read_more(connection: &Connection, seen: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; READ_BYTES];
    let length = connection.try_read(&mut buffer)?;
    seen.extend_from_slice(&buffer[..length]);
    Ok(length)
}

/// To an https kite untouched, or into TLS that ends here.
async fn lead_tls(
    relay: &Rc<Relay>,
    caller: Caller,
    hello: &ClientHello,
    mut seen: Vec<u8>,
) -> Led {
    let asked = hello.name.dns().map(str::to_owned);
    // A CONNECT in clear names what TLS then leaves out.
    let name = asked.clone().or_else(|| caller.from.named.as_deref().map(str::to_owned));
    if let Some(name) = &name {
        let wish =
            Wish { protocol: "https", port: caller.from.port, host: name, from: &caller.from };
        if relay.has(&wish) {
            return lead_visitor(relay, caller, "https", name.clone(), seen).await;
        }
    }
    let Caller { connection, from, guest } = caller;
    let acceptor = relay.acceptor(name.as_deref()).filter(|_| !connection.is_encrypted());
    let Some(acceptor) = acceptor else {
        answer::answer(&connection, &TLS_ACCESS_DENIED).await;
        return Led::Away;
    };
    let Some((socket, unread)) = connection.into_socket() else { return Led::Away };
    seen.extend(unread);
    match acceptor.accept(socket, &seen, Instant::now() + TLS_TIME).await {
        Ok(connection) => {
            let from = From { tls: true, tls_name: asked.map(Rc::from), named: None, ..from };
            Led::On(Caller { connection, from, guest })
        }
        Err(error) => {
            debug!("{}: {error}", from.peer);
            Led::Away
        }
    }
}

async fn lead_http(relay: &Rc<Relay>, caller: Caller) -> Led {
    let head = match read_head(&caller.connection, FIRST_BYTE_TIME).await {
        Ok(head) => head,
        Err(why) => {
            if let Some(reason) = visit::reason(&why) {
                refuse(relay, &caller, reason, why.beginning()).await;
            }
            return Led::Away;
        }
    };
    if TunnelRequest::is_tunnel(&head) {
        return Led::Agent(caller, head);
    }
    if let Some(answer) = relay.probe(&head) {
        answer::answer(&caller.connection, &answer).await;
        return Led::Away;
    }
    let caller = match websocket::open(caller, &head).await {
        Ok(caller) => {
            // What a visitor would send inside of it is for nobody.
            return match read_head(&caller.connection, FIRST_BYTE_TIME).await {
                Ok(head) if TunnelRequest::is_tunnel(&head) => Led::Agent(caller, head),
                _ => {
                    debug!("{}: a WebSocket without a tunnel", caller.from.peer);
                    Led::Away
                }
            };
        }
        Err(Some(caller)) => caller,
        Err(None) => return Led::Away,
    };
    if !is_let_in(&relay.active().settings.visitor_rules, caller.from.peer.ip()) {
        if is_connect(&head) {
            answer::answer(&caller.connection, reply::FORBIDDEN).await;
        } else {
            refuse(relay, &caller, NotServed::Forbidden, &head).await;
        }
        return Led::Away;
    }
    if is_connect(&head) {
        return lead_connect(relay, caller, &head).await;
    }
    Led::Http(caller, head)
}

/// `CONNECT HOST:PORT` (`protocol.md` 11): to a raw kite, or to what follows in
/// the name of that host.
async fn lead_connect(relay: &Rc<Relay>, caller: Caller, head: &[u8]) -> Led {
    let Ok(ConnectRequest { host, port }) = ConnectRequest::read(head) else {
        refuse(relay, &caller, NotServed::BadRequest { problem: "it connects to no host" }, head)
            .await;
        return Led::Away;
    };
    let has = |protocol: &str| relay.has(&Wish { protocol, port, host: &host, from: &caller.from });
    let leads_on = match port {
        80 | 8080 => has("http"),
        443 => has("https") || relay.has_certificate(&host),
        _ => false,
    };
    let is_raw = || relay.active().settings.raw_ports.allows(port) && has("raw");
    if !(leads_on || is_raw()) {
        let protocol = match port {
            80 | 8080 => "http",
            443 => "https",
            _ => "raw",
        };
        relay.access_log.note(&Entry {
            from: &From { port, ..caller.from.clone() },
            host: &host,
            protocol,
            request: None,
            agent: None,
            status: 503,
            seconds: 0.0,
            sent: 0,
            received: 0,
        });
        answer::answer(&caller.connection, reply::UNAVAILABLE).await;
        return Led::Away;
    }
    if answer::write(&caller.connection, reply::CONNECTED).await.is_err() {
        return Led::Away;
    }
    let from = From { port, ..caller.from };
    if leads_on {
        let from = From { named: Some(Rc::from(host)), ..from };
        return Led::On(Caller { from, ..caller });
    }
    let caller = Caller { from, ..caller };
    Led::Blind { caller, protocol: "raw", host, first: Vec::new() }
}

/// To a kite whose protocol is none of our business, if the visitor is let in.
async fn lead_visitor(
    relay: &Rc<Relay>,
    caller: Caller,
    protocol: &'static str,
    host: String,
    first: Vec<u8>,
) -> Led {
    if is_let_in(&relay.active().settings.visitor_rules, caller.from.peer.ip()) {
        return Led::Blind { caller, protocol, host, first };
    }
    if protocol == "https" {
        answer::answer(&caller.connection, &TLS_ACCESS_DENIED).await;
    }
    Led::Away
}

/// Tells a visitor who speaks HTTP why there is nothing for it.
async fn refuse(relay: &Rc<Relay>, caller: &Caller, reason: NotServed, head: &[u8]) {
    let visit = Visit { host: "", protocol: "http", relay: Some(caller.from.local) };
    let html = wants_html(visit::header(head, "Accept"));
    let is_head = head.starts_with(b"HEAD ");
    let page = relay.active().pages.response(reason, &visit, html, is_head);
    answer::answer(&caller.connection, &page).await;
}
