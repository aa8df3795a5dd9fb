//! Host names to addresses, by the system's own `getaddrinfo`: it knows
//! `/etc/hosts`, search domains and whatever else the owner of the machine
//! set up. It also blocks for many seconds when the uplink is gone, so it runs
//! on threads of its own, which come when they are needed and leave afterwards.
//!
//! A name is looked up by one thread at a time, however many ask for it: a
//! name server that hangs on one name costs one thread, and the others go on.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use slab::Slab;

use super::socket::printable;
use super::wait;

/// Longest time that a lookup may take. musl asks twice for 5 s
/// (`resolv.conf`'s defaults), once more for a search domain.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(15);
/// Different names that may be looked up at the same time; the next one is
/// refused. A configuration has fewer relays and services.
pub const MAX_LOOKUPS: usize = 32;
/// Threads at most: two names that hang leave one for all the others.
pub const LOOKUP_THREADS: usize = 3;
/// Addresses of a name that are used; a name may have any number.
pub const MAX_ADDRESSES: usize = 16;

/// How long a thread waits for another lookup before it ends.
const THREAD_IDLE: Duration = Duration::from_secs(20);

/// Stack of a lookup thread. musl's `getaddrinfo` was measured to need less
/// than 12 KiB. glibc's loads plug-ins (nsswitch) that bring habits of their
/// own, and takes thread-local storage out of the stack as well.
const THREAD_STACK_BYTES: usize = if cfg!(target_env = "musl") { 64 * 1024 } else { 512 * 1024 };

/// The addresses of `host`, in the order in which the system prefers them,
/// never empty. A literal address and `localhost` need no lookup.
///
/// # Errors
/// Says in words why there is no address; [`LOOKUP_DEADLINE`] is the limit.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    resolve_until(host, port, Instant::now() + LOOKUP_DEADLINE).await
}

/// As [`resolve`], with a deadline of the caller's.
///
/// # Errors
/// As [`resolve`].
pub async fn resolve_until(
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, ResolveError> {
    static RESOLVER: LazyLock<Arc<Resolver>> =
        LazyLock::new(|| Resolver::new(Box::new(system_lookup), THREAD_IDLE));
    if let Some(known) = known_without_lookup(host, port) {
        return Ok(known);
    }
    RESOLVER.resolve(host, port, deadline).await
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    /// The name that was looked up.
    pub host: String,
    /// What went wrong.
    pub failure: ResolveFailure,
}

/// What went wrong in a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveFailure {
    /// The system answered with this text.
    System(String),
    /// The name exists and has no address.
    NoAddress,
    /// No answer came by the deadline.
    Timeout,
    /// [`MAX_LOOKUPS`] other names are being looked up.
    TooMany,
    /// No thread could be started.
    NoThread(String),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = printable(&self.host, 253);
        match &self.failure {
            ResolveFailure::System(text) => {
                write!(formatter, "cannot look up {host}: {text}{}", hint(text))
            }
            ResolveFailure::NoAddress => write!(formatter, "{host} has no address in DNS"),
            ResolveFailure::Timeout => write!(
                formatter,
                "cannot look up {host}: no name server answered in time (see /etc/resolv.conf)"
            ),
            ResolveFailure::TooMany => write!(
                formatter,
                "cannot look up {host}: {MAX_LOOKUPS} other names are still being looked up"
            ),
            ResolveFailure::NoThread(text) => {
                write!(formatter, "cannot look up {host}: no thread could be started ({text})")
            }
        }
    }
}

impl std::error::Error for ResolveError {}

/// What can be done, by the texts of glibc and musl: the standard library
/// gives away nothing but the text.
fn hint(text: &str) -> &'static str {
    let says = |part: &str| text.contains(part);
    if says("not known") || says("does not resolve") || says("No address associated") {
        " (is it spelled right?)"
    } else if says("Temporary failure") || says("Try again") {
        " (no name server answered, see /etc/resolv.conf)"
    } else {
        ""
    }
}

/// Literal addresses, and `localhost` as RFC 6761 section 6.3 has it: it is
/// the host of most services, and every visitor would cost a lookup.
fn known_without_lookup(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(address, port)]);
    }
    host.eq_ignore_ascii_case("localhost").then(|| {
        vec![
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]
    })
}

fn system_lookup(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.take(MAX_ADDRESSES).collect())
}

type Lookup = Box<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The lookups of this process and the threads that do them.
struct Resolver {
    shared: Mutex<Shared>,
    work_arrived: Condvar,
    lookup: Lookup,
    thread_idle: Duration,
}

#[derive(Default)]
struct Shared {
    entries: Slab<Entry>,
    /// Keys of the entries that no thread has taken yet.
    queue: VecDeque<usize>,
    threads: usize,
    idle_threads: usize,
    next_waiter: u64,
}

/// One name that is being looked up, for however many waiters.
struct Entry {
    host: Arc<str>,
    stage: Stage,
    waiters: usize,
    wakers: Vec<(u64, Waker)>,
}

enum Stage {
    Queued,
    Running,
    Done(Result<Vec<SocketAddr>, ResolveFailure>),
}

impl Resolver {
    fn new(lookup: Lookup, thread_idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            shared: Mutex::default(),
            work_arrived: Condvar::new(),
            lookup,
            thread_idle,
        })
    }

    async fn resolve(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let outcome = match self.enter(host) {
            Ok(answer) => {
                wait::before(deadline, answer).await.unwrap_or(Err(ResolveFailure::Timeout))
            }
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(mut addresses) => {
                for address in &mut addresses {
                    address.set_port(port);
                }
                Ok(addresses)
            }
            Err(failure) => Err(ResolveError { host: host.to_owned(), failure }),
        }
    }

    /// Joins the lookup of `host` that is under way, or queues a new one and
    /// sees to it that a thread takes it.
    fn enter(self: &Arc<Self>, host: &str) -> Result<Answer, ResolveFailure> {
        let mut shared = self.lock();
        let under_way = shared
            .entries
            .iter()
            .find(|(_, entry)| *entry.host == *host && !matches!(entry.stage, Stage::Done(_)))
            .map(|(key, _)| key);
        let key = match under_way {
            Some(key) => key,
            None => self.queue(&mut shared, host)?,
        };
        shared.entries[key].waiters += 1;
        shared.next_waiter += 1;
        Ok(Answer { resolver: Arc::clone(self), key, waiter: shared.next_waiter })
    }

    fn queue(self: &Arc<Self>, shared: &mut Shared, host: &str) -> Result<usize, ResolveFailure> {
        if shared.entries.len() >= MAX_LOOKUPS {
            return Err(ResolveFailure::TooMany);
        }
        if shared.queue.len() < shared.idle_threads {
            self.work_arrived.notify_one();
        } else if shared.threads < LOOKUP_THREADS {
            let resolver = Arc::clone(self);
            let started = thread::Builder::new()
                .name("resolver".to_owned())
                .stack_size(THREAD_STACK_BYTES)
                .spawn(move || resolver.work());
            match started {
                Ok(_) => shared.threads += 1,
                // One that runs already will come to it.
                Err(_) if shared.threads > 0 => {}
                Err(error) => return Err(ResolveFailure::NoThread(error.to_string())),
            }
        }
        let key = shared.entries.insert(Entry {
            host: host.into(),
            stage: Stage::Queued,
            waiters: 0,
            wakers: Vec::new(),
        });
        shared.queue.push_back(key);
        Ok(key)
    }

    /// A lookup thread: takes names until none has come for a while.
    fn work(&self) {
        let mut shared = self.lock();
        loop {
            if let Some(key) = shared.queue.pop_front() {
                shared.entries[key].stage = Stage::Running;
                let host = Arc::clone(&shared.entries[key].host);
                drop(shared);
                let outcome = (self.lookup)(&host);
                self.finish(key, outcome);
                shared = self.lock();
                continue;
            }
            shared.idle_threads += 1;
            let (guard, wait) = self
                .work_arrived
                .wait_timeout(shared, self.thread_idle)
                .unwrap_or_else(PoisonError::into_inner);
            shared = guard;
            shared.idle_threads -= 1;
            if wait.timed_out() && shared.queue.is_empty() {
                shared.threads -= 1;
                return;
            }
        }
    }

    fn finish(&self, key: usize, outcome: io::Result<Vec<SocketAddr>>) {
        let outcome = match outcome {
            Ok(addresses) if addresses.is_empty() => Err(ResolveFailure::NoAddress),
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(ResolveFailure::System(system_text(&error))),
        };
        let mut shared = self.lock();
        let entry = &mut shared.entries[key];
        entry.stage = Stage::Done(outcome);
        let wakers = std::mem::take(&mut entry.wakers);
        if entry.waiters == 0 {
            shared.entries.remove(key);
        }
        drop(shared);
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    printable(text, 120)
}

/// One waiter for one entry. Dropped, it leaves: a lookup that nobody waits
/// for is taken out of the queue, or its answer is thrown away.
struct Answer {
    resolver: Arc<Resolver>,
    key: usize,
    waiter: u64,
}

impl Future for Answer {
    type Output = Result<Vec<SocketAddr>, ResolveFailure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.resolver.lock();
        let entry = &mut shared.entries[self.key];
        if let Stage::Done(outcome) = &entry.stage {
            return Poll::Ready(outcome.clone());
        }
        let waker = context.waker().clone();
        match entry.wakers.iter_mut().find(|(id, _)| *id == self.waiter) {
            Some((_, known)) => *known = waker,
            None => entry.wakers.push((self.waiter, waker)),
        }
        Poll::Pending
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut shared = self.resolver.lock();
        let entry = &mut shared.entries[self.key];
        entry.waiters -= 1;
        entry.wakers.retain(|(id, _)| *id != self.waiter);
        if entry.waiters == 0 && !matches!(entry.stage, Stage::Running) {
            shared.entries.remove(self.key);
            shared.queue.retain(|key| *key != self.key);
        }
    }
}

#[cfg(test)]
mod tests;
