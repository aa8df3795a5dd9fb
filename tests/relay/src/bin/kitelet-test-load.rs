//! Visitors and a service that are fast enough not to be what a bench measures.
//!
//! ```text
//! kitelet-test-load service LISTEN
//! kitelet-test-load upload TARGET VIA BYTES
//! kitelet-test-load download TARGET HOST PATH
//! kitelet-test-load hold TARGET VIA COUNT
//! ```
//!
//! `VIA` is the `NAME:PORT` that the relay at `TARGET` is asked for by HTTP
//! `CONNECT`, or `-` to talk to the service at once. `upload` and `download`
//! print the seconds from the connection to the last byte. `hold` keeps
//! `COUNT` idle connections, says so, and ends with its standard input.
//!
//! The service's protocol: the visitor says in one line how many bytes come;
//! the service takes them and answers `done`. That needs no half-closed
//! connection, which the reference's relay does not carry.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// One read or write; large enough that its cost is the kernel's copying.
const CHUNK_BYTES: usize = 256 * 1024;
/// A connection of the service is a thread.
const STACK_BYTES: usize = 64 * 1024;
/// Longest line that is read before the bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// Patience of a visitor for a single read or write.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the service says when it has taken everything.
const DONE: &[u8] = b"done\n";

const USAGE: &str = "usage: kitelet-test-load service LISTEN | upload TARGET VIA BYTES \
                     | download TARGET HOST PATH | hold TARGET VIA COUNT";

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["service", listen] => serve(listen),
        ["upload", target, via, bytes] => upload(target, via, bytes.parse()?),
        ["download", target, host, path] => download(target, host, path),
        ["hold", target, via, count] => hold(target, via, count.parse()?),
        _ => Err(USAGE.into()),
    }
}

fn serve(listen: &str) -> Outcome {
    let listener = TcpListener::bind(listen)?;
    for socket in listener.incoming() {
        let socket = socket?;
        let take = move || {
            // A visitor that goes away is the visitor's business.
            let _ = take(&socket);
        };
        thread::Builder::new().stack_size(STACK_BYTES).spawn(take)?;
    }
    Ok(())
}

/// Takes as many bytes as are announced, and waits for the visitor to go.
fn take(socket: &TcpStream) -> Outcome {
    socket.set_nodelay(true)?;
    let mut visitor = socket;
    let mut left: u64 = read_line(&mut visitor)?.trim().parse()?;
    let mut buffer = Vec::new();
    while left > 0 {
        buffer.resize(CHUNK_BYTES, 0);
        let length = visitor.read(&mut buffer)?;
        if length == 0 {
            return Err("the visitor left early".into());
        }
        left = left.checked_sub(length as u64).ok_or("more bytes than announced")?;
    }
    visitor.write_all(DONE)?;
    match visitor.read(&mut [0])? {
        0 => Ok(()),
        _ => Err("more bytes than announced".into()),
    }
}

fn upload(target: &str, via: &str, bytes: u64) -> Outcome {
    let start = Instant::now();
    let mut socket = connect(target, via)?;
    writeln!(socket, "{bytes}")?;
    // Not all alike, should anybody on the way compress.
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    });
    let chunk: Vec<u8> = noise.take(CHUNK_BYTES).collect();
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left)?.min(CHUNK_BYTES);
        socket.write_all(&chunk[..length])?;
        left -= length as u64;
    }
    expect_done(&mut socket)?;
    println!("{:.6}", start.elapsed().as_secs_f64());
    Ok(())
}

fn download(target: &str, host: &str, path: &str) -> Outcome {
    let start = Instant::now();
    let mut socket = connect(target, "-")?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, socket);
    let status = read_line(&mut reader)?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("not a 200 but {status}").into());
    }
    let mut announced = None;
    loop {
        let line = read_line(&mut reader)?;
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                announced = Some(value.trim().parse::<u64>()?);
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut left = announced.ok_or("no Content-Length")?;
    while left > 0 {
        let length = reader.fill_buf()?.len();
        if length == 0 {
            return Err(format!("{left} bytes are missing").into());
        }
        reader.consume(length);
        left = left.checked_sub(length as u64).ok_or("more bytes than announced")?;
    }
    println!("{:.6}", start.elapsed().as_secs_f64());
    Ok(())
}

fn hold(target: &str, via: &str, count: usize) -> Outcome {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut socket = open(target, via)?;
        socket.write_all(b"0\n")?;
        held.push(socket);
    }
    // Only now, as the reference's relay lets each wait for a second.
    for socket in &mut held {
        expect_way(socket, via)?;
        expect_done(socket)?;
    }
    println!("holding");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn connect(target: &str, via: &str) -> Outcome<TcpStream> {
    let socket = open(target, via)?;
    expect_way(&socket, via)?;
    Ok(socket)
}

/// Connects, and asks a relay for the way to a raw kite.
fn open(target: &str, via: &str) -> Outcome<TcpStream> {
    let mut socket = TcpStream::connect(target)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    if via != "-" {
        write!(socket, "CONNECT {via} HTTP/1.0\r\n\r\n")?;
    }
    Ok(socket)
}

/// Reads the relay's consent, if one was asked.
fn expect_way(mut socket: &TcpStream, via: &str) -> Outcome {
    if via == "-" {
        return Ok(());
    }
    let status = read_line(&mut socket)?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("the relay answered {status}").into());
    }
    while !read_line(&mut socket)?.is_empty() {}
    Ok(())
}

fn expect_done(socket: &mut TcpStream) -> Outcome {
    let mut answer = [0; DONE.len()];
    socket.read_exact(&mut answer)?;
    if answer != DONE {
        return Err("the service did not answer `done`".into());
    }
    Ok(())
}

/// Reads to the end of the line, no further, and gives it without its end.
fn read_line(reader: &mut impl Read) -> Outcome<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte[0] != b'\n' {
        reader.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.len() > MAX_LINE_BYTES {
            return Err("the line is too long".into());
        }
    }
    Ok(String::from_utf8(line)?.trim_end().to_owned())
}
