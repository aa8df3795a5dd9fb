//! What every kite leads to: says its name to each request, and closes nothing.

use std::net::TcpListener;

use async_io::Async;
use kitelet::net::Connection;
use smol::LocalExecutor;

use crate::Outcome;

/// Longest request; visitors' have a hundred bytes, and relays add little.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// Where a request ends; none has a body.
const END: &[u8] = b"\r\n\r\n";

/// One connection to the service.
#[derive(Default)]
pub(crate) struct Service {
    request: Vec<u8>,
}

impl Service {
    /// Takes what a visitor sends; the answers to the requests that are
    /// complete by that, made of what the service of this name says.
    pub(crate) fn take(&mut self, bytes: &[u8], name: Option<&str>) -> Outcome<Vec<u8>> {
        self.request.extend_from_slice(bytes);
        let mut answers = Vec::new();
        while let Some(at) = self.request.windows(END.len()).position(|window| window == END) {
            let request: Vec<u8> = self.request.drain(..at + END.len()).collect();
            let request = String::from_utf8_lossy(&request);
            let host = request.lines().find_map(|line| line.strip_prefix("Host: "));
            answers.extend_from_slice(&answer(name.or(host).unwrap_or_default()));
        }
        if self.request.len() > MAX_REQUEST_BYTES {
            return Err("the request is too long".into());
        }
        Ok(answers)
    }
}

/// What the service of this name answers.
fn answer(name: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", name.len() + 1, body(name))
        .into_bytes()
}

/// The body of that.
pub(crate) fn body(name: &str) -> String {
    format!("{name}\n")
}

/// Answers visitors who come without a relay, with the name that they ask for.
pub(crate) async fn serve(
    executor: &'static LocalExecutor<'static>,
    listener: TcpListener,
) -> Outcome {
    let listener = Async::new(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.get_ref().set_nodelay(true)?;
        executor
            .spawn(async move {
                let connection = Connection::plain(socket);
                let mut service = Service::default();
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = connection.read_some(&mut buffer).await {
                    let Ok(answers) = service.take(&buffer[..length], None) else { return };
                    if connection.write_all(&answers).await.is_err() {
                        return;
                    }
                }
            })
            .detach();
    }
}
