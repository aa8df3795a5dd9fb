//! A Unix socket in the runtime directory by which commands reach the agent
//! that runs: one line asks, one or more lines answer, and the end of the
//! connection ends the answer. Only the agent's own user may connect.

use std::fs::Permissions;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use async_io::{Async, Timer};
use log::debug;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Name of the socket in the runtime directory.
pub const SOCKET_NAME: &str = "control";
/// Longest line that asks, in bytes.
const MAX_LINE_BYTES: usize = 256;
/// Connections that are read at the same time; more wait in the kernel.
const MAX_CONNECTIONS: usize = 4;
/// Longest time for a question, and for an answer to be taken; both ends are on
/// this machine.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `retry`: what waits for another try tries now.
    Retry,
}

impl Command {
    /// Reads a line without its end.
    fn read(line: &str) -> Option<Self> {
        match line.trim() {
            "retry" => Some(Self::Retry),
            _ => None,
        }
    }
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub struct Request {
    command: Command,
    stream: Async<UnixStream>,
}

impl Request {
    /// What is asked for.
    pub fn command(&self) -> Command {
        self.command
    }

    /// Sends lines, and closes. Whoever does not take them in five seconds
    /// does without.
    pub async fn answer(mut self, text: &str) {
        let answer = async { self.stream.write_all(text.as_bytes()).await.is_ok() };
        smol::future::or(answer, timeout(false)).await;
    }
}

type Reading = Pin<Box<dyn Future<Output = Option<Request>>>>;

/// The socket; it is removed with this value.
pub struct ControlSocket {
    listener: Async<UnixListener>,
    path: PathBuf,
    inode: u64,
    readings: Vec<Reading>,
}

impl std::fmt::Debug for ControlSocket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ControlSocket").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ControlSocket {
    /// Makes the socket `control` in `directory`, in place of one that nobody
    /// listens to any more.
    ///
    /// # Errors
    /// `AddrInUse` when somebody does; else those of the file system.
    pub fn bind(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SOCKET_NAME);
        match UnixStream::connect(&path) {
            Err(error) if is_unheard(&error) => {}
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) => return Err(error),
        }
        // Nobody can connect before it is for the owner alone.
        let new = directory.join(format!("{SOCKET_NAME}.{}", std::process::id()));
        let _ = std::fs::remove_file(&new);
        let listener = Async::<UnixListener>::bind(&new)?;
        let moved = std::fs::set_permissions(&new, Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&new, &path))
            .and_then(|()| std::fs::symlink_metadata(&path));
        match moved {
            Ok(metadata) => {
                Ok(Self { listener, path, inode: metadata.ino(), readings: Vec::new() })
            }
            Err(error) => {
                let _ = std::fs::remove_file(&new);
                Err(error)
            }
        }
    }

    /// Waits for the next one who asks for something there is. Nothing is lost
    /// when the future is dropped.
    pub async fn next(&mut self) -> Request {
        loop {
            let Self { listener, readings, .. } = self;
            let accepted = async {
                match listener.accept().await {
                    Ok((stream, _)) => Some(stream),
                    Err(error) => {
                        // Out of descriptors; it is tried again in a moment.
                        debug!("control socket: {error}");
                        Timer::after(Duration::from_secs(1)).await;
                        None
                    }
                }
            };
            let event = if readings.len() < MAX_CONNECTIONS {
                smol::future::or(any(readings), async { Event::Accepted(accepted.await) }).await
            } else {
                any(readings).await
            };
            match event {
                Event::Asked(request) => return request,
                Event::Accepted(Some(stream)) => self.readings.push(Box::pin(read(stream))),
                Event::Accepted(None) | Event::Gone => {}
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let is_ours = |metadata: std::fs::Metadata| metadata.ino() == self.inode;
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

enum Event {
    Accepted(Option<Async<UnixStream>>),
    Asked(Request),
    Gone,
}

/// The first of the connections that is done.
async fn any(readings: &mut Vec<Reading>) -> Event {
    poll_fn(|context| {
        for at in 0..readings.len() {
            if let Poll::Ready(request) = readings[at].as_mut().poll(context) {
                drop(readings.swap_remove(at));
                return Poll::Ready(request.map_or(Event::Gone, Event::Asked));
            }
        }
        Poll::Pending
    })
    .await
}

/// Reads the line; whoever asks for what there is not is told so.
async fn read(mut stream: Async<UnixStream>) -> Option<Request> {
    let question = async {
        let mut line = [0; MAX_LINE_BYTES];
        let mut length = 0;
        loop {
            let room = line.get_mut(length..).filter(|room| !room.is_empty())?;
            let more = stream.read(room).await.ok().filter(|more| *more > 0)?;
            length += more;
            let text = line.get(..length)?;
            if let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                return Some(String::from_utf8_lossy(&text[..end]).into_owned());
            }
        }
    };
    let line = smol::future::or(question, timeout(None)).await?;
    if let Some(command) = Command::read(&line) {
        return Some(Request { command, stream });
    }
    let answer =
        async { stream.write_all(b"error: no such command; there is: retry\n").await.ok() };
    smol::future::or(answer, timeout(None)).await;
    None
}

async fn timeout<T>(value: T) -> T {
    Timer::after(TIMEOUT).await;
    value
}

/// Whether a connection failed because nobody listens.
pub fn is_unheard(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("kitelet-control-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn ask(path: &Path, question: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).expect("it listens");
        stream.write_all(question).expect("it reads");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn a_question_is_answered_and_others_do_not_hold_it_up() {
        let folder = folder("answer");
        let mut socket = ControlSocket::bind(&folder).expect("a socket");
        let path = folder.join(SOCKET_NAME);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Three who say nothing leave room for one.
        let silent: Vec<_> =
            (0..3).map(|_| UnixStream::connect(&path).expect("it listens")).collect();
        let asking = std::thread::spawn(move || {
            let long = ask(&path, &[b'a'; 300]);
            (long, ask(&path, b"dance\n"), ask(&path, b"retry\n"))
        });
        async_io::block_on(async {
            let request = socket.next().await;
            assert_eq!(request.command(), Command::Retry);
            request.answer("ok\n").await;
        });
        let (long, unknown, known) = asking.join().expect("no panic");
        assert_eq!(long, "");
        assert!(unknown.starts_with("error: no such command"));
        assert_eq!(known, "ok\n");
        drop((silent, socket));
        assert!(!folder.join(SOCKET_NAME).exists());
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn only_a_socket_that_nobody_listens_to_is_replaced() {
        let folder = folder("stale");
        let path = folder.join(SOCKET_NAME);
        drop(UnixListener::bind(&path).expect("a socket"));
        let first = ControlSocket::bind(&folder).expect("a stale one is replaced");
        let second = ControlSocket::bind(&folder).expect_err("the first one is alive");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(first);
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}
