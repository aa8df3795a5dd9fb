//! A tunnel for the tests of this folder.

use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use async_io::Async;

use super::{Buffers, Tunnel};
use crate::net::Connection;
use crate::wire::{MAX_BODY_BYTES, Role, Session, SessionSettings};

/// A tunnel over loopback, and the other end, which has to be kept.
pub(super) fn tunnel(buffers: Rc<Buffers>, max_buffered: usize) -> (Rc<Tunnel>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let near = TcpStream::connect(address).expect("a connection");
    let (far, _) = listener.accept().expect("a connection");
    let connection = Connection::plain(Async::new(near).expect("the reactor takes it"));
    let session = Session::new(SessionSettings {
        role: Role::Relay,
        max_streams: 100,
        max_header_bytes: 1024,
        compress: false,
        guard_bursts: false,
    });
    (Tunnel::new(connection, session, buffers, MAX_BODY_BYTES, max_buffered), far)
}
