//! A relay that does nothing of its own.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use kitelet::wire::{Answer, KiteRequest, KiteResult, TunnelRequest, Verdict};

use super::tunnel::Tunnel;
use super::wait_for;

/// Listens for agents.
pub struct FakeRelay {
    listener: TcpListener,
}

/// What the head of an answer says.
pub struct Reply {
    pub add_kites: bool,
    pub session: &'static str,
}

impl FakeRelay {
    pub fn new() -> Self {
        Self::at(0)
    }

    /// A relay at a port that another one has had.
    pub fn at(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = wait_for("the port to be free", || TcpListener::bind(address).ok());
        listener.set_nonblocking(true).expect("non-blocking");
        Self { listener }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    /// The next connection, of which nothing was read.
    pub fn accept(&self) -> Tunnel {
        wait_for("the agent to connect", || self.poll())
    }

    /// The next connection, with its request; it is not answered.
    pub fn accept_request(&self) -> (Tunnel, TunnelRequest) {
        let mut tunnel = self.accept();
        let request = tunnel.read_request();
        (tunnel, request)
    }

    /// The next connection, with all kites flying.
    pub fn accept_flying(&self) -> Tunnel {
        let (mut tunnel, request) = self.accept_request();
        tunnel.send(&Reply::default().all(&request, &Verdict::Flying).encode());
        tunnel
    }

    /// How many connections come within a time; each is dropped at once.
    pub fn count_connections(&self, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut count = 0;
        while Instant::now() < end {
            count += usize::from(self.poll().is_some());
            thread::sleep(Duration::from_millis(2));
        }
        count
    }

    fn poll(&self) -> Option<Tunnel> {
        match self.listener.accept() {
            Ok((socket, _)) => Some(Tunnel::new(socket)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self { add_kites: true, session: "session" }
    }
}

impl Reply {
    /// The same verdict for all kites of a request.
    pub fn all(&self, request: &TunnelRequest, verdict: &Verdict) -> Answer {
        self.each(request, |_| verdict.clone())
    }

    /// A verdict for each kite of a request.
    pub fn each(&self, request: &TunnelRequest, judge: impl Fn(&KiteRequest) -> Verdict) -> Answer {
        let result = |kite| KiteResult { key: KiteRequest::key(kite), verdict: judge(kite) };
        Answer {
            status: Some(200),
            add_kites: self.add_kites,
            web_sockets: true,
            protocols: ["http", "raw", "minecraft"].map(str::to_owned).to_vec(),
            ports: vec!["80".to_owned()],
            results: request.kites.iter().map(result).collect(),
            session_id: Some(self.session.to_owned()),
            motd: Some(String::new()),
            ..Answer::default()
        }
    }
}
