//! A local port whose connections are all brought to the kite, for programs
//! that cannot start another one to reach it, such as VNC viewers.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use smol::LocalExecutor;
use smol::channel::{Sender, bounded};
use smol::future;
use smol::lock::Semaphore;

use super::BUFFER_BYTES;
use super::carry::both;
use super::failure::Failure;
use super::open::Way;
use crate::net::{Connection, SocketOptions, in_words};

/// Connections at the same time; the next one waits until one ends. Each takes
/// two descriptors, and macOS allows 256.
pub const MAX_CONNECTIONS: usize = 100;

/// Pause when the system has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Listens on `address` until the program is stopped.
pub(super) fn run(
    way: Way,
    address: SocketAddr,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<(), Failure> {
    let listening = Async::<TcpListener>::bind(address)
        .and_then(|listener| listener.get_ref().local_addr().map(|address| (listener, address)));
    let (listener, address) = listening
        .map_err(|error| Failure::Lost(format!("cannot listen on {address}: {}", why(&error))))?;
    let visit = way.visit();
    if !address.ip().is_loopback() {
        say(
            errors,
            &format!(
                "warning: {} is no loopback address, whoever reaches this machine reaches {} port {} \
             through it",
                address.ip(),
                visit.kite,
                visit.port
            ),
        );
    }
    let _ = writeln!(output, "{address} leads to {} port {}", visit.kite, visit.port);
    let _ = output.flush();
    let (complaints, told) = bounded(MAX_CONNECTIONS);
    let executor = LocalExecutor::new();
    let accept = accept(&executor, Rc::new(way), listener, complaints);
    let tell = async {
        while let Ok(line) = told.recv().await {
            say(errors, &line);
        }
        Ok(())
    };
    async_io::block_on(executor.run(future::or(accept, tell)))
}

async fn accept<'a>(
    executor: &LocalExecutor<'a>,
    way: Rc<Way>,
    listener: Async<TcpListener>,
    complaints: Sender<String>,
) -> Result<(), Failure> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.acquire_arc().await;
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                let _ = complaints.try_send(format!("cannot accept: {}", in_words(&error)));
                Timer::after(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (way, complaints) = (Rc::clone(&way), complaints.clone());
        let serve = async move {
            if let Err(failure) = serve(&way, socket).await {
                let _ = complaints.try_send(format!("{peer}: {failure}"));
            }
            drop(place);
        };
        executor.spawn(serve).detach();
    }
}

async fn serve(way: &Way, socket: Async<TcpStream>) -> Result<(), Failure> {
    // The application may be gone already, which shows soon enough.
    let _ = SocketOptions::SERVICE.apply(socket.get_ref());
    let mut first = Box::new([0; BUFFER_BYTES]);
    let (far, length) = way.open(&mut first).await?;
    let near = Connection::plain(socket);
    both(&near, &far, first, length).await.map_err(|error| way.lost(&error))
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; choose another port".into(),
        io::ErrorKind::PermissionDenied => {
            "not permitted on this machine; choose a port above 1023".into()
        }
        _ => in_words(error),
    }
}

/// Writes a line. That nobody listens is no reason to stop.
fn say(errors: &mut dyn Write, text: &str) {
    let _ = writeln!(errors, "kitelet: {text}");
    let _ = errors.flush();
}
