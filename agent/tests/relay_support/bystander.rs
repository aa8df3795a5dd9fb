//! A well-behaved visitor of a well-behaved agent's kite, who must not notice
//! what others do to the relay.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::visitor::{connect_from, read_all, send, status};
use super::{GOOD_ADDRESS, Kite, PAGE, Relay};

/// Visits between two attacks must not take a core for themselves.
const PAUSE: Duration = Duration::from_millis(30);

/// Visits the page of a kite again and again until [`Bystander::finish`].
pub struct Bystander {
    relay: Arc<Relay>,
    // It flies as long as somebody looks at it.
    _kite: Kite,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Bystander {
    /// Lets `http:good.kite.test` fly, and visits it.
    pub fn start(relay: &Arc<Relay>) -> Self {
        let kite = Kite::fly(relay, "http:good.kite.test");
        let is_over = Arc::new(AtomicBool::new(false));
        let (ours, over) = (Arc::clone(relay), Arc::clone(&is_over));
        // Now, so that who counts the relay's descriptors counts this one.
        let mut kept = None;
        visit(&ours, &mut kept, false);
        let thread = thread::spawn(move || {
            let mut visits = 0;
            while !over.load(Ordering::Relaxed) {
                // In turn on a connection of its own and on one that stays.
                visit(&ours, &mut None, true);
                visit(&ours, &mut kept, false);
                visits += 2;
                thread::sleep(PAUSE);
            }
            visits
        });
        Self { relay: Arc::clone(relay), _kite: kite, is_over, thread: Some(thread) }
    }

    /// Everything went well all the time, and goes on to.
    pub fn finish(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("not finished before");
        let visits = thread.join().expect("the visitor was served all the time");
        assert!(visits > 0);
        visit(&self.relay, &mut None, true);
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Its kite flies until its last visit is over.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn visit(relay: &Relay, kept: &mut Option<TcpStream>, closes: bool) {
    let socket = kept.get_or_insert_with(|| connect_from(relay, GOOD_ADDRESS));
    let close = if closes { "Connection: close\r\n" } else { "" };
    send(socket, format!("GET / HTTP/1.1\r\nHost: good.kite.test\r\n{close}\r\n").as_bytes());
    let mut answer = Vec::new();
    while !answer.ends_with(PAGE.as_bytes()) {
        let (more, _) = read_all(socket, 1);
        assert!(!more.is_empty(), "a well-behaved visitor got {:?}", text(&answer));
        answer.extend(more);
    }
    assert_eq!(status(&answer), Some(200), "{:?}", text(&answer));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
