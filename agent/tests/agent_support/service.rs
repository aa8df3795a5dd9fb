//! Services behind the agent: a listener and a thread for each connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::LONG;

/// A service on this machine.
pub struct Service {
    port: u16,
}

impl Service {
    /// Does this with each connection.
    pub fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), serve)
    }

    /// Does this with each connection to an address.
    pub fn at(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                socket.set_read_timeout(Some(LONG)).expect("a timeout");
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(socket));
            }
        });
        Self { port }
    }

    /// Sends back what comes, and ends when the visitor does.
    pub fn echo() -> Self {
        Self::new(|mut socket| {
            let mut buffer = [0; 16 * 1024];
            while let Ok(length @ 1..) = socket.read(&mut buffer) {
                if socket.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers with all that came, once the visitor has finished.
    pub fn echo_at_end() -> Self {
        Self::new(|mut socket| {
            let mut all = Vec::new();
            if socket.read_to_end(&mut all).is_ok() {
                let _ = socket.write_all(&all);
            }
        })
    }

    /// Accepts and neither reads nor writes.
    pub fn deaf() -> Self {
        Self::new(|socket| {
            thread::sleep(LONG * 2);
            drop(socket);
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A port that nothing listens on.
pub fn dead_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}
