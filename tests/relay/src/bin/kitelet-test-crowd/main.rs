//! Thousands of agents and visitors in one process, to see what a relay makes
//! of them.
//!
//! ```text
//! kitelet-test-crowd kites COUNT
//! kitelet-test-crowd service LISTEN
//! kitelet-test-crowd agents RELAY PROTOCOL COUNT [PIN]
//! kitelet-test-crowd visitors TARGET PROTOCOL COUNT KITES [PIN]
//! kitelet-test-crowd probe TARGET PROTOCOL COUNT KITES [PIN]
//! ```
//!
//! `kites` prints the lines of a kites file. `agents` flies one kite on each of
//! COUNT tunnels, answers visitors itself, and says so each time that all fly;
//! a tunnel that is lost is opened again. `visitors` come all at once, each to
//! the next of KITES kites, check the answer and stay; at the end of their
//! standard input each asks once more on the same connection. `probe` sends one
//! visitor after the other. `service` gives the same answers without a relay.
//!
//! PROTOCOL is `http`, or `raw` by HTTP `CONNECT`. PIN is the SHA-1 of the
//! relay's certificate and means TLS.

#![forbid(unsafe_code)]

mod agents;
mod peer;
mod service;
mod visitors;

use std::cell::Cell;
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::rc::Rc;
use std::thread;

use smol::{LocalExecutor, channel};

use peer::{Protocol, Target};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Errors that are told in words; the others are counted.
const TOLD_ERRORS: usize = 5;

const USAGE: &str = "usage: kitelet-test-crowd kites COUNT | service LISTEN \
                     | agents RELAY PROTOCOL COUNT [PIN] \
                     | visitors TARGET PROTOCOL COUNT KITES [PIN] \
                     | probe TARGET PROTOCOL COUNT KITES [PIN]";

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let executor: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
    let pin_of = |words: &[&str]| words.first().map(|pin| peer::read_pin(pin)).transpose();
    match words.as_slice() {
        ["kites", count] => {
            let lines: String = (0..count.parse()?).map(peer::kites_line).collect();
            std::io::stdout().write_all(lines.as_bytes())?;
            Ok(())
        }
        ["service", listen] => {
            let listener = std::net::TcpListener::bind(listen)?;
            async_io::block_on(executor.run(service::serve(executor, listener)))
        }
        ["agents", relay, protocol, count, pin @ ..] if pin.len() < 2 => {
            let target = Target::new(relay, Protocol::read(protocol)?, pin_of(pin)?)?;
            async_io::block_on(executor.run(agents::fly(executor, target, count.parse()?)))
        }
        ["visitors", target, protocol, count, kites, pin @ ..] if pin.len() < 2 => {
            let target = Target::new(target, Protocol::read(protocol)?, pin_of(pin)?)?;
            let (count, kites) = (count.parse()?, kites.parse()?);
            async_io::block_on(executor.run(visitors::stay(executor, target, count, kites)))
        }
        ["probe", target, protocol, count, kites, pin @ ..] if pin.len() < 2 => {
            let target = Target::new(target, Protocol::read(protocol)?, pin_of(pin)?)?;
            let (count, kites) = (count.parse()?, kites.parse()?);
            async_io::block_on(executor.run(visitors::probe(target, count, kites)))
        }
        _ => Err(USAGE.into()),
    }
}

/// Waits for the end of standard input.
async fn end_of_input() {
    let (sender, receiver) = channel::bounded::<()>(1);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(sender);
    });
    let _ = receiver.recv().await;
}

/// Tells the script something, at once.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // The script may be gone.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// Counts what went wrong, and tells of the first few.
#[derive(Clone, Default)]
struct Errors(Rc<Cell<usize>>);

impl Errors {
    fn note(&self, who: &str, error: &dyn Error) {
        self.0.set(self.count() + 1);
        if self.count() <= TOLD_ERRORS {
            eprintln!("{who}: {error}");
        }
    }

    fn count(&self) -> usize {
        self.0.get()
    }
}
