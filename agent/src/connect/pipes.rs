//! Standard input and output as one end of a stream. They block, and there is
//! no portable way to wait for them, so each has a thread; two buffers go
//! round between a thread and the rest, which bounds what is in flight.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use smol::channel::{Receiver, Sender, bounded};
use smol::future;

use super::BUFFER_BYTES;
use super::failure::Failure;
use super::open::Way;
use crate::net::Connection;

/// Buffers of each direction: one is filled while the other is emptied.
const BUFFERS: usize = 2;
/// Pause before another try at a pipe that somebody made non-blocking, as
/// `ssh` does with those it shares.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A buffer and how many of its bytes count.
struct Piece {
    bytes: Box<[u8; BUFFER_BYTES]>,
    length: usize,
}

impl Piece {
    fn new() -> Self {
        Self { bytes: Box::new([0; BUFFER_BYTES]), length: 0 }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Connects them to the far end of `way` until that ends.
pub(super) async fn run(way: &Way) -> Result<(), Failure> {
    let mut first = Piece::new();
    let (connection, length) = way.open(&mut first.bytes).await?;
    first.length = length;
    let up = up(&connection);
    let down = down(&connection, first);
    // The far end's end is the end of all.
    let up = async {
        up.await?;
        future::pending().await
    };
    match future::or(down, up).await {
        Ok(()) => Ok(()),
        // Whoever read our output has seen enough.
        Err(Broken::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Broken::Output(error)) => Err(Failure::Lost(format!("standard output: {error}"))),
        Err(Broken::Input(error)) => Err(Failure::Lost(format!("standard input: {error}"))),
        Err(Broken::Far(error)) => Err(way.lost(&error)),
        Err(Broken::NoThread(error)) => Err(Failure::Lost(format!("no thread: {error}"))),
    }
}

/// What broke.
#[derive(Debug)]
enum Broken {
    Input(io::Error),
    Output(io::Error),
    Far(io::Error),
    NoThread(io::Error),
}

/// From standard input to the far end, until either takes no part any more.
async fn up(connection: &Connection) -> Result<(), Broken> {
    let (full_sender, full) = bounded(BUFFERS + 1);
    let (empty, empty_receiver) = bounded(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = empty.try_send(Piece::new());
    }
    start("input", move || feed(&mut io::stdin().lock(), &full_sender, &empty_receiver))?;
    while let Ok(piece) = full.recv().await {
        let piece = piece.map_err(Broken::Input)?;
        // What the far end said last is still to be read, and reading finds
        // out why it takes no more.
        if connection.write_all(piece.filled()).await.is_err() {
            return Ok(());
        }
        let _ = empty.try_send(piece);
    }
    let _ = connection.finish().await;
    Ok(())
}

/// From the far end to standard output, until the far end ends and all is
/// written.
async fn down(connection: &Connection, first: Piece) -> Result<(), Broken> {
    let (full, full_receiver) = bounded(BUFFERS);
    let (empty_sender, empty) = bounded(BUFFERS + 1);
    let _ = empty_sender.try_send(Ok(Piece::new()));
    start("output", move || drain(&mut io::stdout().lock(), &full_receiver, &empty_sender))?;
    let mut piece = first;
    let end = loop {
        if piece.length > 0 && full.send(piece).await.is_err() {
            break Ok(());
        }
        piece = match empty.recv().await {
            Ok(piece) => piece.map_err(Broken::Output)?,
            Err(_) => break Ok(()),
        };
        match connection.read_some(&mut piece.bytes[..]).await {
            Ok(0) => break Ok(()),
            Ok(length) => piece.length = length,
            Err(error) => break Err(Broken::Far(error)),
        }
    };
    drop(full);
    while let Ok(piece) = empty.recv().await {
        piece.map_err(Broken::Output)?;
    }
    end
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Broken> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(|_| ()).map_err(Broken::NoThread)
}

/// The thread of standard input: fills what is empty.
fn feed(input: &mut dyn Read, full: &Sender<io::Result<Piece>>, empty: &Receiver<Piece>) {
    while let Ok(mut piece) = empty.recv_blocking() {
        let read = patiently(|| input.read(&mut piece.bytes[..]));
        let piece = match read {
            Ok(0) => return,
            Ok(length) => {
                piece.length = length;
                Ok(piece)
            }
            Err(error) => Err(error),
        };
        let is_over = piece.is_err();
        if full.send_blocking(piece).is_err() || is_over {
            return;
        }
    }
}

/// The thread of standard output: empties what is full.
fn drain(output: &mut dyn Write, full: &Receiver<Piece>, empty: &Sender<io::Result<Piece>>) {
    while let Ok(piece) = full.recv_blocking() {
        let mut rest = piece.filled();
        let written = loop {
            if rest.is_empty() {
                break patiently(|| output.flush());
            }
            match patiently(|| output.write(rest)) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => rest = &rest[length..],
                Err(error) => break Err(error),
            }
        };
        let is_over = written.is_err();
        if empty.send_blocking(written.map(|()| piece)).is_err() || is_over {
            return;
        }
    }
}

/// Repeats a call that a signal interrupted, or that would have to wait.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(BUSY_PAUSE),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out and takes few bytes at a time, and is busy in between.
    struct Moody {
        bytes: Vec<u8>,
        busy: bool,
        end: Option<io::ErrorKind>,
    }

    impl Moody {
        fn turn(&mut self) -> io::Result<()> {
            self.busy = !self.busy;
            if self.busy { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        }
    }

    impl Read for Moody {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.turn()?;
            if let (true, Some(kind)) = (self.bytes.is_empty(), self.end) {
                return Err(kind.into());
            }
            let length = self.bytes.len().min(7).min(buffer.len());
            buffer[..length].copy_from_slice(&self.bytes[..length]);
            self.bytes.drain(..length);
            Ok(length)
        }
    }

    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turn()?;
            if let Some(kind) = self.end {
                return Err(kind.into());
            }
            let length = bytes.len().min(7);
            self.bytes.extend_from_slice(&bytes[..length]);
            Ok(length)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.turn()
        }
    }

    fn moody(bytes: &[u8], end: Option<io::ErrorKind>) -> Moody {
        Moody { bytes: bytes.to_vec(), busy: false, end }
    }

    #[test]
    fn input_arrives_whole_and_in_order() {
        let (full_sender, full) = bounded(100);
        let (empty, empty_receiver) = bounded(100);
        for _ in 0..10 {
            empty.try_send(Piece::new()).expect("room");
        }
        let text = b"the quick brown fox jumps";
        feed(&mut moody(text, None), &full_sender, &empty_receiver);
        drop(full_sender);
        let pieces = std::iter::from_fn(|| full.recv_blocking().ok());
        let read: Vec<u8> =
            pieces.flat_map(|piece| piece.expect("piece").filled().to_vec()).collect();
        assert_eq!(read, text);
    }

    #[test]
    fn an_error_of_the_input_is_told_after_what_was_read() {
        let (full_sender, full) = bounded(100);
        let (empty, empty_receiver) = bounded(100);
        for _ in 0..10 {
            empty.try_send(Piece::new()).expect("room");
        }
        let mut input = moody(b"abc", Some(io::ErrorKind::Other));
        feed(&mut input, &full_sender, &empty_receiver);
        assert_eq!(full.try_recv().expect("piece").expect("bytes").filled(), b"abc");
        assert!(full.try_recv().expect("error").is_err());
    }

    #[test]
    fn output_is_written_whole_however_little_is_taken() {
        let (full, full_receiver) = bounded(100);
        let (empty_sender, empty) = bounded(100);
        for part in [&b"the quick brown "[..], b"fox", b" jumps"] {
            let mut piece = Piece::new();
            piece.bytes[..part.len()].copy_from_slice(part);
            piece.length = part.len();
            full.try_send(piece).expect("room");
        }
        drop(full);
        let mut output = moody(b"", None);
        drain(&mut output, &full_receiver, &empty_sender);
        assert_eq!(output.bytes, b"the quick brown fox jumps");
        assert_eq!(empty.len(), 3);
    }

    #[test]
    fn a_closed_output_ends_it() {
        let (full, full_receiver) = bounded(100);
        let (empty_sender, empty) = bounded(100);
        full.try_send(Piece { length: 1, ..Piece::new() }).expect("room");
        full.try_send(Piece { length: 1, ..Piece::new() }).expect("room");
        let mut output = moody(b"", Some(io::ErrorKind::BrokenPipe));
        drain(&mut output, &full_receiver, &empty_sender);
        assert_eq!(empty.len(), 1);
        assert!(empty.try_recv().expect("answer").is_err());
    }
}
