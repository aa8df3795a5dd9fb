//! The device end: keeps a tunnel to each relay and brings visitors to the
//! services.
//!
//! Decisions are pure state machines ([`backoff`], `routing`, [`http`],
//! [`access`]); `supervisor` and `stream` do what they say.

pub mod access;
pub mod answer;
pub mod backoff;
pub mod http;
pub mod proxy_protocol;
mod registration_log;
mod routing;
mod stream;
mod streams;
mod supervisor;
mod visitors;

use std::io::{self, IsTerminal as _};
use std::rc::Rc;

use log::{LevelFilter, info, warn};
use smol::{LocalExecutor, Task};

use crate::config::Settings;
use crate::net::{Connector, TlsSetupError};
use crate::system::limits;
use crate::system::signals::{Order, Orders};
use crate::tunnel::Buffers;
use supervisor::{Context, Supervisor};
use visitors::Visitors;

/// Flies the kites until SIGTERM or SIGINT, or until its terminal is closed.
///
/// # Errors
/// A file that `settings` names cannot be used.
pub fn run(settings: Settings) -> Result<(), TlsSetupError> {
    // It lives as long as the program, and tasks may then refer to it.
    let executor: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
    let tasks = start(executor, settings)?;
    info!("{} starts", crate::wire::VERSION);
    let stopped = async_io::block_on(executor.run(stopped()));
    match stopped {
        Ok(()) => info!("stopped by a signal"),
        Err(error) => warn!("stopped: signals cannot be watched: {error}"),
    }
    drop(tasks);
    // What the tasks still had to tell is told while they are dropped.
    while executor.try_tick() {}
    Ok(())
}

/// Waits for a signal that ends the program. SIGHUP does if it says that the
/// terminal is gone; else somebody wants what a relay does then.
async fn stopped() -> io::Result<()> {
    let has_terminal = || io::stdin().is_terminal() || io::stderr().is_terminal();
    let had_terminal = has_terminal();
    let mut orders = Orders::watch()?;
    while orders.next().await? == Order::Reload {
        if had_terminal && !has_terminal() {
            // The logger of a terminal panics when it cannot write.
            log::set_max_level(LevelFilter::Off);
            break;
        }
        warn!("SIGHUP: the agent does not read its configuration again yet; restart it");
    }
    Ok(())
}

/// Flies the kites as long as the tasks live.
///
/// # Errors
/// A file that `settings` names cannot be used.
pub(crate) fn start(
    executor: &'static LocalExecutor<'static>,
    mut settings: Settings,
) -> Result<Vec<Task<()>>, TlsSetupError> {
    let connector = Connector::new(&settings.security)?
        .through(settings.proxy.clone())
        .inside_websocket(settings.websocket);
    if settings.proxy.proxy.is_some() {
        info!("the way to the relays leads through the {}", settings.proxy);
    }
    let streams = limits::raise_open_files() / settings.relays.len().max(1);
    if streams < settings.max_streams {
        warn!(
            "max_streams is {}, but the limit on open files leaves room for {streams} only",
            settings.max_streams
        );
        settings.max_streams = streams;
    }
    let visitors = Visitors::new(settings.kites.clone(), settings.error_urls.clone());
    let relays = settings.relays.clone();
    let visitors = Rc::new(visitors);
    let context = Rc::new(Context {
        executor,
        settings,
        connector,
        visitors,
        buffers: Buffers::new(usize::MAX),
    });
    let supervise = |relay| executor.spawn(Supervisor::new(Rc::clone(&context), relay).run());
    Ok(relays.into_iter().map(supervise).collect())
}
