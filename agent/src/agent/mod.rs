//! The device end: keeps a tunnel to each relay and brings visitors to the
//! services.
//!
//! Decisions are pure state machines ([`assignment`], [`backoff`], [`care`],
//! [`keepalive`], [`trial`], `routing`, [`http`], [`access`]); `relays`,
//! `supervisor`, `flight` and `stream` do what they say.

pub mod access;
pub mod answer;
pub mod assignment;
pub mod backoff;
pub mod care;
pub mod choice;
mod flight;
mod handshake;
pub mod http;
pub mod keepalive;
mod outage;
pub mod outage_log;
mod plan;
mod pool;
mod post;
pub mod proxy_protocol;
mod registration_log;
mod relays;
mod reload;
mod routing;
mod stream;
mod streams;
mod supervisor;
pub mod trial;
mod visitors;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use log::{LevelFilter, error, info, warn};
use smol::{LocalExecutor, future};

use crate::config::{ConfigError, Loaded, Settings};
use crate::net::{TlsSetupError, before};
use crate::system::changes::{self, Changes};
use crate::system::control::{Command, ControlSocket, Request};
use crate::system::signals::{Order, Orders};
use care::Change;
use plan::{Context, Plan};
use relays::Relays;

/// Time for everything to end. Service managers wait longer, people do not.
const STOP_TIME: Duration = Duration::from_secs(4);

/// Reads the configuration again.
pub type Load<'a> = &'a dyn Fn() -> Result<Loaded, ConfigError>;

/// Flies the kites until SIGTERM or SIGINT, or until its terminal is closed.
/// SIGHUP lets what `load` reads hold.
///
/// # Errors
/// A file that `settings` names cannot be used.
pub fn run(settings: Settings, load: Load<'_>) -> Result<(), TlsSetupError> {
    // It lives as long as the program, and tasks may then refer to it.
    let executor: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
    let context = Context::new(executor, Plan::new(settings)?);
    info!("{} starts", crate::wire::VERSION);
    let mut relays = Relays::new(&context);
    let plan = context.plan();
    let served = serve(executor, &mut relays, load, plan.settings.runtime_directory.as_deref());
    let stopped = async_io::block_on(executor.run(served));
    match stopped {
        Ok(()) => info!("stopped by a signal"),
        Err(error) => warn!("stopped: signals cannot be watched: {error}"),
    }
    drop(relays);
    context.state.borrow_mut().save_at_end();
    // What the tasks still had to tell is told while they are dropped.
    while executor.try_tick() {}
    Ok(())
}

/// Looks after the relays until a signal ends the program. SIGHUP does if it
/// says that the terminal is gone.
async fn serve(
    executor: &'static LocalExecutor<'static>,
    relays: &mut Relays,
    load: Load<'_>,
    runtime_directory: Option<&Path>,
) -> io::Result<()> {
    let has_terminal = || io::stdin().is_terminal() || io::stderr().is_terminal();
    let had_terminal = has_terminal();
    let mut orders = Orders::watch()?;
    let mut changes = Changes::watch();
    let mut control = control_socket(runtime_directory);
    loop {
        let order = async { orders.next().await.map(Event::Order) };
        let change = async { Ok(Event::Change(changes.next().await)) };
        let request = async {
            match &mut control {
                Some(control) => Ok(Event::Request(control.next().await)),
                None => future::pending().await,
            }
        };
        let watch = async {
            relays.watch().await;
            future::pending().await
        };
        let event = future::or(future::or(order, request), future::or(change, watch)).await?;
        let order = match event {
            Event::Order(order) => order,
            Event::Change(change) => {
                relays.notice(change);
                continue;
            }
            Event::Request(request) => {
                match request.command() {
                    Command::Retry => relays.tell(Change::Asked),
                }
                // Whoever is slow to listen keeps nobody waiting.
                executor.spawn(request.answer("ok\n")).detach();
                continue;
            }
        };
        match order {
            Order::Reload if had_terminal && !has_terminal() => {
                // The logger of a terminal panics when it cannot write.
                log::set_max_level(LevelFilter::Off);
                return Ok(());
            }
            Order::Reload => reload(relays, load),
            Order::Retry => relays.tell(Change::Asked),
            Order::Stop => {
                info!("ending; streams that are open get a moment");
                // A second signal does not wait.
                let again = async { orders.next().await.map(drop) };
                let stop = async {
                    before(Instant::now() + STOP_TIME, relays.stop()).await;
                    Ok(())
                };
                return future::or(again, stop).await;
            }
        }
    }
}

/// What [`serve`] wakes up for.
enum Event {
    Order(Order),
    Change(changes::Change),
    Request(Request),
}

/// The socket for `kitelet retry`; the agent does without where there is none.
fn control_socket(directory: Option<&Path>) -> Option<ControlSocket> {
    let directory = directory?;
    match ControlSocket::bind(directory) {
        Ok(socket) => Some(socket),
        Err(error) => {
            let shown = directory.display();
            warn!("runtime_directory: no control socket can be made in {shown}: {error}");
            None
        }
    }
}

fn reload(relays: &mut Relays, load: Load<'_>) {
    let loaded = match load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            for line in mistakes.to_string().lines() {
                error!("{line}");
            }
            return error!("the configuration has mistakes; the one before holds on");
        }
    };
    for line in loaded.warnings.to_string().lines() {
        warn!("{line}");
    }
    match Plan::new(loaded.settings) {
        Ok(plan) => relays.reload(plan),
        Err(problem) => error!("{problem}; the configuration before holds on"),
    }
}

/// Flies the kites as long as the task lives.
///
/// # Errors
/// A file that `settings` names cannot be used.
#[cfg(feature = "relay")]
pub(crate) fn start(
    executor: &'static LocalExecutor<'static>,
    settings: Settings,
) -> Result<smol::Task<()>, TlsSetupError> {
    let context = Context::new(executor, Plan::new(settings)?);
    let mut relays = Relays::new(&context);
    Ok(executor.spawn(async move { relays.watch().await }))
}
