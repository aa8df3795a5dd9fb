//! What a configuration means for a running agent, made once from the settings
//! and shared by everything that runs by them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};
use smol::LocalExecutor;

use super::backoff::Caps;
use super::health::{HealthChecks, ServiceHealth};
use super::visitors::Visitors;
use crate::config::{Security, Settings};
use crate::net::{CERTIFICATE_CLOCK, Connector, TlsSetupError};
use crate::system::limits;
use crate::system::state::State;
use crate::tunnel::{Buffers, Notify};
use crate::wire::{KiteId, Secret};

/// One configuration, ready for use.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) connector: Connector,
}

impl Plan {
    /// # Errors
    /// A file that `settings` names cannot be used.
    pub(super) fn new(mut settings: Settings) -> Result<Self, TlsSetupError> {
        let connector = Connector::new(&settings.security)?
            .through(settings.proxy.clone())
            .inside_websocket(settings.websocket);
        if settings.proxy.proxy.is_some() {
            info!("the way to the relays leads through the {}", settings.proxy);
        }
        let from_pool =
            settings.pool.as_ref().map_or(0, |pool| pool.wanted + settings.spare_relays);
        let relays = (settings.relays.len() + from_pool).max(1);
        let streams = limits::raise_open_files() / relays;
        if streams < settings.max_streams {
            warn!(
                "max_streams is {}, but the limit on open files leaves room for {streams} only",
                settings.max_streams
            );
            settings.max_streams = streams;
        }
        Ok(Self { settings, connector })
    }

    /// Whether `fe_certname` says what certificate the relays have.
    pub(super) fn has_names(&self) -> bool {
        match &self.settings.security {
            Security::Tls(tls) => !tls.names.is_empty(),
            Security::Plain => false,
        }
    }

    /// All kites.
    pub(super) fn kites(&self) -> Vec<KiteId> {
        self.settings.kites.iter().map(|kite| kite.id.clone()).collect()
    }

    /// The kites among `ids`, with their secrets.
    pub(super) fn offered(&self, ids: &[KiteId]) -> Vec<(KiteId, Secret)> {
        let kites = self.settings.kites.iter().filter(|kite| ids.contains(&kite.id));
        kites.map(|kite| (kite.id.clone(), kite.secret.clone())).collect()
    }

    pub(super) fn caps(&self) -> Caps {
        let Settings { retry_seconds, late_retry_seconds, .. } = self.settings;
        Caps {
            young: Duration::from_secs(retry_seconds.into()),
            old: Duration::from_secs(late_retry_seconds.into()),
        }
    }
}

/// What everything in an agent shares.
pub(super) struct Context {
    pub(super) executor: &'static LocalExecutor<'static>,
    plan: RefCell<Rc<Plan>>,
    visitors: RefCell<Rc<Visitors>>,
    /// The checks of the configuration that holds now.
    health: RefCell<HealthChecks>,
    pub(super) buffers: Rc<Buffers>,
    /// What outlives this process.
    pub(super) state: RefCell<State>,
    /// The agent ends: there are no new streams.
    pub(super) is_stopping: Cell<bool>,
    /// Rung when a supervisor has something to tell.
    pub(super) news: Rc<Notify>,
}

impl Context {
    pub(super) fn new(executor: &'static LocalExecutor<'static>, plan: Plan) -> Rc<Self> {
        let Settings { state_directory, runtime_directory, .. } = &plan.settings;
        let state = State::open(state_directory.clone(), runtime_directory.clone());
        if let Some(seconds) = state.last_good_time() {
            CERTIFICATE_CLOCK.set_floor(seconds);
        }
        let kites = &plan.settings.kites;
        let health = HealthChecks::start(executor, kites, &ServiceHealth::default());
        Rc::new(Self {
            state: RefCell::new(state),
            executor,
            visitors: RefCell::new(visitors_of(&plan, health.known())),
            health: RefCell::new(health),
            plan: RefCell::new(Rc::new(plan)),
            buffers: Buffers::new(usize::MAX),
            is_stopping: Cell::new(false),
            news: Rc::new(Notify::default()),
        })
    }

    /// The configuration that holds now.
    pub(super) fn plan(&self) -> Rc<Plan> {
        Rc::clone(&self.plan.borrow())
    }

    /// The services for visitors who come now.
    pub(super) fn visitors(&self) -> Rc<Visitors> {
        Rc::clone(&self.visitors.borrow())
    }

    /// Lets another configuration hold.
    pub(super) fn set_plan(&self, plan: Rc<Plan>) {
        let known = self.health.borrow().known();
        let health = HealthChecks::start(self.executor, &plan.settings.kites, &known);
        *self.visitors.borrow_mut() = visitors_of(&plan, health.known());
        *self.health.borrow_mut() = health;
        *self.plan.borrow_mut() = plan;
    }
}

fn visitors_of(plan: &Plan, health: ServiceHealth) -> Rc<Visitors> {
    let Settings { kites, error_urls, .. } = &plan.settings;
    Rc::new(Visitors::new(kites.clone(), error_urls.clone(), health))
}
