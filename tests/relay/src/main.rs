//! A relay for tests and benches of the agent, made from the `wire` module.
//!
//! It exists because the reference's relay is too slow to measure an agent by,
//! cuts off what is under way when a visitor half-closes, and cannot be told
//! to misbehave. It takes any kite whose signature fits the one secret, and is
//! not meant for any network but loopback.
//!
//! `kitelet-test-relay LISTEN SECRET [CHAIN.pem KEY.pem] [--reconnect]`

#![forbid(unsafe_code)]

mod handshake;
mod tunnel;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Async;
use kitelet::net::websocket::{End, accept_upgrade};
use kitelet::net::{Acceptor, Connection};
use kitelet::wire::HeadReader;
use smol::LocalExecutor;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

use tunnel::{Tunnel, Visit};

/// Longest head of a visitor's first request.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Time for a TLS handshake.
const TLS_TIME: Duration = Duration::from_secs(10);

/// What all connections share.
struct Relay {
    executor: &'static LocalExecutor<'static>,
    secret: Vec<u8>,
    acceptor: Option<Acceptor>,
    /// Challenges are answered on a second connection, as old agents do.
    reconnect: bool,
    /// Who flies which kite, by `proto[-port]:domain`.
    kites: RefCell<BTreeMap<String, Rc<Tunnel>>>,
}

fn main() -> io::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let reconnect = words.iter().position(|word| word == "--reconnect");
    if let Some(index) = reconnect {
        words.remove(index);
    }
    let (listen, secret, files) = match words.as_slice() {
        [listen, secret] => (listen, secret, None),
        [listen, secret, chain, key] => (listen, secret, Some((chain, key))),
        _ => {
            let usage = "usage: kitelet-test-relay LISTEN SECRET [CHAIN.pem KEY.pem] [--reconnect]";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, usage));
        }
    };
    let acceptor = match files {
        Some((chain, key)) => {
            let (chain, key) = (std::fs::read(chain)?, std::fs::read(key)?);
            Some(Acceptor::from_pem(&chain, &key).map_err(io::Error::other)?)
        }
        None => None,
    };
    let executor: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
    let relay = Rc::new(Relay {
        executor,
        secret: secret.clone().into_bytes(),
        acceptor,
        reconnect: reconnect.is_some(),
        kites: RefCell::default(),
    });
    let address: SocketAddr = listen.parse().map_err(io::Error::other)?;
    async_io::block_on(executor.run(serve(relay, address)))
}

async fn serve(relay: Rc<Relay>, address: SocketAddr) -> io::Result<()> {
    let listener = Async::<TcpListener>::bind(address)?;
    loop {
        let (socket, peer) = listener.accept().await?;
        socket.get_ref().set_nodelay(true)?;
        let relay = Rc::clone(&relay);
        relay.executor.spawn(take(Rc::clone(&relay), socket, peer)).detach();
    }
}

/// Finds out what a connection is, and serves it.
async fn take(relay: Rc<Relay>, socket: Async<TcpStream>, peer: SocketAddr) {
    let mut socket = socket;
    if is_announced(&relay, &mut socket).await.is_err() {
        return;
    }
    let mut first = [0];
    if socket.peek(&mut first).await.is_err() {
        return;
    }
    let connection = match &relay.acceptor {
        Some(acceptor) if first[0] == 0x16 => {
            match acceptor.accept(socket, &[], Instant::now() + TLS_TIME).await {
                Ok(connection) => connection,
                Err(error) => return eprintln!("{peer}: {error}"),
            }
        }
        _ => Connection::plain(socket),
    };
    let Some((mut head, mut rest)) = read_head(&connection).await else { return };
    let mut connection = connection;
    if let Some(upgrade) = accept_upgrade(&head) {
        let answer = upgrade.unwrap_or_else(|refusal| refusal.response());
        let is_open = answer.starts_with(b"HTTP/1.1 101 ");
        if connection.write_all(&answer).await.is_err() || !is_open {
            return;
        }
        connection = connection.into_websocket(End::Server, rest);
        let Some(inner) = read_head(&connection).await else { return };
        (head, rest) = inner;
    }
    if head.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"CONNECT PageKite:")) {
        handshake::take_tunnel(&relay, connection, &head, &rest).await;
    } else {
        take_visitor(&relay, connection, peer, head, rest).await;
    }
}

/// The head of a request, and what came behind it.
async fn read_head(connection: &Connection) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut reader = HeadReader::new(MAX_HEAD_BYTES);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = connection.read_some(&mut buffer).await.ok()?;
        let mut input = &buffer[..length];
        match reader.read(&mut input) {
            Ok(Some(head)) => return Some((head.to_vec(), input.to_vec())),
            Ok(None) if length > 0 => {}
            _ => return None,
        }
    }
}

/// Agrees to a `CONNECT NAME:443` in clear that announces TLS, whatever the
/// name; the relay has one certificate.
async fn is_announced(relay: &Relay, socket: &mut Async<TcpStream>) -> io::Result<()> {
    let mut head = [0; 512];
    let length = socket.peek(&mut head).await?;
    let text = String::from_utf8_lossy(&head[..length]).into_owned();
    let target = text.strip_prefix("CONNECT ").and_then(|line| line.split(' ').next());
    let end = text.find("\r\n\r\n").map(|end| end + 4);
    let (Some(target), Some(end)) = (target, end) else { return Ok(()) };
    if relay.acceptor.is_some() && target.ends_with(":443") {
        socket.read_exact(&mut head[..end]).await?;
        socket.write_all(b"HTTP/1.0 200 Connection Established\r\n\r\n").await?;
    }
    Ok(())
}

/// Brings a visitor to the kite that its first request names.
async fn take_visitor(
    relay: &Relay,
    connection: Connection,
    peer: SocketAddr,
    mut head: Vec<u8>,
    rest: Vec<u8>,
) {
    let text = String::from_utf8_lossy(&head).into_owned();
    let connect = text.strip_prefix("CONNECT ").and_then(|line| line.split(' ').next());
    let (protocol, host, port) = match connect.and_then(|target| target.rsplit_once(':')) {
        Some((host, port)) => ("raw", host.to_owned(), port.parse().ok()),
        None => {
            let host = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
            });
            let host = host.unwrap_or_default();
            ("http", host.split(':').next().unwrap_or_default().to_owned(), Some(80))
        }
    };
    let host = host.to_ascii_lowercase();
    let port_kite = port.map(|port| format!("{protocol}-{port}:{host}")).unwrap_or_default();
    let tunnel = {
        let kites = relay.kites.borrow();
        kites.get(&port_kite).or_else(|| kites.get(&format!("{protocol}:{host}"))).cloned()
    };
    let Some(tunnel) = tunnel else {
        let _ = connection.write_all(b"HTTP/1.0 503 Unavailable\r\n\r\n").await;
        return;
    };
    if connect.is_some() {
        let established = b"HTTP/1.0 200 Connection Established\r\n\r\n";
        if connection.write_all(established).await.is_err() {
            return;
        }
        head.clear();
    }
    head.extend_from_slice(&rest);
    let visit = Visit { protocol, host: &host, port, peer, first: &head };
    tunnel.serve(visit, connection).await;
}
