//! The services of `kitelet demo`: a web server with three pages, and one that
//! speaks first, as SSH does.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Async;
use smol::LocalExecutor;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::NAME;
use super::page::{Route, Status, start, status_html, status_json};
use crate::net::Connection;
use crate::relay::request::VisitorRequest;
use crate::relay::{Doings, Embedded, read_head};

/// How long a connection may be idle. Browsers keep some.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// What the service that speaks first says.
const GREETING: &[u8] = b"Hello! This service spoke first, as SSH and VNC do. What you type comes \
    back.\r\nCtrl-C leaves.\r\n";
/// Bytes that come back at once.
const ECHO_BYTES: usize = 4096;

/// Two services on ports of their own.
pub(super) struct Service {
    web_port: u16,
    raw_port: u16,
}

/// What the pages are made of.
struct Web {
    relay: Rc<Embedded>,
    relay_port: u16,
    port: u16,
    started: Instant,
}

impl Service {
    /// Starts both.
    ///
    /// # Errors
    /// There is no port for them.
    pub(super) fn start(
        executor: &'static LocalExecutor<'static>,
        relay: Rc<Embedded>,
        relay_port: u16,
        started: Instant,
    ) -> io::Result<Self> {
        let web = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, 0))?;
        let raw = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = web.get_ref().local_addr()?.port();
        let raw_port = raw.get_ref().local_addr()?.port();
        let site = Rc::new(Web { relay, relay_port, port, started });
        let accept_web = async move {
            while let Ok((socket, _)) = web.accept().await {
                let site = Rc::clone(&site);
                executor.spawn(async move { site.serve(socket).await }).detach();
            }
        };
        let accept_raw = async move {
            while let Ok((socket, _)) = raw.accept().await {
                executor.spawn(async move { drop(echo(socket).await) }).detach();
            }
        };
        executor.spawn(accept_web).detach();
        executor.spawn(accept_raw).detach();
        Ok(Self { web_port: port, raw_port })
    }

    pub(super) fn web_port(&self) -> u16 {
        self.web_port
    }

    pub(super) fn raw_port(&self) -> u16 {
        self.raw_port
    }
}

impl Web {
    async fn serve(&self, socket: Async<TcpStream>) {
        let connection = Connection::plain(socket);
        while let Ok(head) = read_head(&connection, IDLE_TIME).await {
            let Ok(request) = VisitorRequest::read(&head, None) else { return };
            let visitor = header(&head, "X-Forwarded-For");
            let answer = self.answer(&request, visitor);
            if crate::relay::write(&connection, &answer).await.is_err() || request.closes {
                return;
            }
        }
    }

    fn answer(&self, request: &VisitorRequest, visitor: Option<&str>) -> Vec<u8> {
        let (status, kind, body) = match request.path.as_str() {
            "/" => ("200 OK", "text/html", start(&self.route(visitor))),
            "/status" => ("200 OK", "text/html", status_html(&self.status())),
            "/status.json" => ("200 OK", "application/json", status_json(&self.status())),
            _ => ("404 Not Found", "text/plain", "There is nothing here.\n".to_owned()),
        };
        let body = if request.method == "HEAD" { String::new() } else { body };
        let connection = if request.closes { "Connection: close\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nCache-Control: no-store\r\n\
             {connection}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn route<'a>(&self, visitor: Option<&'a str>) -> Route<'a> {
        Route {
            name: NAME,
            visitor,
            relay_port: self.relay_port,
            tunnel_tls: Some("TLS 1.3"),
            service_port: self.port,
        }
    }

    fn status(&self) -> Status {
        let Doings { tunnels, kites, streams, visits, traffic } = self.relay.doings();
        Status {
            uptime: self.started.elapsed(),
            tunnels: tunnels as u64,
            kites,
            streams: streams as u64,
            visitors: visits,
            bytes_from_visitors: traffic.0,
            bytes_to_visitors: traffic.1,
        }
    }
}

async fn echo(mut socket: Async<TcpStream>) -> io::Result<()> {
    socket.write_all(GREETING).await?;
    let mut buffer = vec![0; ECHO_BYTES];
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(()),
            length => socket.write_all(&buffer[..length]).await?,
        }
    }
}

fn header<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    crate::relay::header(head, name).and_then(|value| std::str::from_utf8(value).ok())
}
