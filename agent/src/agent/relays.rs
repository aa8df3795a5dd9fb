//! All relays of an agent: starts and ends supervisors as [`Assignments`] has
//! it, passes on what happens outside, and lets another configuration hold.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use litemap::LiteMap;
use log::{debug, error, info};
use smol::Task;

use super::assignment::{Assignments, Endpoint, Move};
use super::care::Change;
use super::dyndns::Flights;
use super::dyndns_task::{self, Records};
use super::plan::{Context, Plan};
use super::pool::{self, Pool};
use super::post::Post;
use super::reload::{changes, keeps_the_way, may_lose_relays};
use super::supervisor::Supervisor;
use super::trial::{Trial, Verdict};
use crate::net::before;
use crate::system::changes as system;

/// Least time between two log lines about changes of the machine: a link may
/// flap for days.
const NOTICE_GAP: Duration = Duration::from_secs(60);

/// All relays of an agent.
pub(super) struct Relays {
    context: Rc<Context>,
    assignments: Assignments,
    supervisors: LiteMap<u32, Supervised>,
    pool: Rc<Pool>,
    records: Rc<Records>,
    /// They end with this.
    _tasks: [Task<()>; 2],
    trial: Trial,
    /// What returns when the configuration that is on trial reaches no relay.
    before: Option<Rc<Plan>>,
    /// When a change of the machine was told in the log.
    noticed: Option<Instant>,
}

struct Supervised {
    post: Rc<Post>,
    /// The relay's address, of one from the pool.
    address: Option<SocketAddr>,
    /// Failures that the pool was told of.
    failures: u32,
    /// Ends with this.
    _task: Task<()>,
}

impl Relays {
    pub(super) fn new(context: &Rc<Context>) -> Self {
        let (pool, records) = (Rc::default(), Rc::default());
        Self {
            _tasks: [pool::start(context, &pool), dyndns_task::start(context, &records)],
            pool,
            records,
            context: Rc::clone(context),
            assignments: Assignments::default(),
            supervisors: LiteMap::new(),
            trial: Trial::default(),
            before: None,
            noticed: None,
        }
    }

    /// Looks after everything that supervisors tell, for ever; drop it to pass
    /// on something from outside.
    pub(super) async fn watch(&mut self) {
        loop {
            let deadline = self.update();
            match deadline {
                Some(deadline) => {
                    before(deadline, self.context.news.wait()).await;
                }
                None => self.context.news.wait().await,
            }
        }
    }

    /// Brings everything to what is wanted; returns when to do so again, if
    /// nothing happens before.
    fn update(&mut self) -> Option<Instant> {
        let reports: Vec<_> =
            self.supervisors.iter().map(|(&id, one)| (id, one.post.report())).collect();
        let flying: Vec<_> = self
            .supervisors
            .values()
            .filter(|one| !one.post.report().flying.is_empty())
            .filter_map(|one| one.address)
            .collect();
        for (id, report) in reports {
            if let Some(supervised) = self.supervisors.get_mut(&id) {
                // A kite that is refused where others fly says nothing of the
                // relay.
                let address = supervised.address.filter(|address| !flying.contains(address));
                if let (Some(address), true) = (address, report.failures > supervised.failures) {
                    self.pool.trouble(address);
                }
                supervised.failures = report.failures;
            }
            self.assignments.report(id, report);
        }
        self.pool.set_in_use(flying);
        self.records.set_flights(self.flights());
        let verdict = self.judge();
        let plan = self.context.plan();
        let mut wanted: Vec<Endpoint> = plan
            .settings
            .relays
            .iter()
            .map(|relay| Endpoint { relay: relay.clone(), address: None })
            .collect();
        wanted.extend(self.pool.chosen());
        if wanted.is_empty() {
            // The pool is still looked for; what flies is left alone.
            return verdict;
        }
        for step in self.assignments.decide(&wanted, &plan.kites()) {
            self.take(step);
        }
        self.supervisors.retain(|_, supervised| !supervised.post.report().has_ended);
        verdict
    }

    /// By which relays each domain flies. What is behind a proxy has no
    /// address here.
    fn flights(&self) -> Flights {
        let mut flights = Flights::new();
        let has_proxy = self.context.plan().settings.proxy.proxy.is_some();
        for (_, report) in self.assignments.reports().filter(|_| !has_proxy) {
            let Some(address) = report.address else { continue };
            for kite in &report.flying {
                let addresses = flights.entry(kite.domain().to_owned()).or_default();
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                    addresses.sort_unstable();
                }
            }
        }
        flights
    }

    fn take(&mut self, step: Move) {
        match step {
            Move::Start { id, endpoint, kites, is_refused, is_successor, is_main } => {
                if is_successor {
                    let relay = &endpoint.relay;
                    info!("relay {relay} has another address now; going there");
                }
                let address = endpoint.address;
                let post = Post::new(kites, Rc::clone(&self.context.news));
                let mut supervisor = Supervisor::new(&self.context, endpoint, Rc::clone(&post));
                if is_main {
                    supervisor = supervisor.main();
                } else if is_successor {
                    supervisor = supervisor.successor();
                }
                if is_refused {
                    supervisor = supervisor.after_refusal();
                }
                let task = self.context.executor.spawn(supervisor.run());
                let supervised = Supervised { post, address, failures: 0, _task: task };
                self.supervisors.insert(id, supervised);
            }
            Move::SetKites { id, kites } => self.with_post(id, |post| post.set_kites(kites)),
            Move::Drain(id) => self.with_post(id, Post::leave),
            Move::Stop(id) => {
                self.supervisors.remove(&id);
            }
        }
    }

    fn with_post(&self, id: u32, tell: impl FnOnce(&Post)) {
        if let Some(supervised) = self.supervisors.get(&id) {
            tell(&supervised.post);
        }
    }

    /// Passes on what the machine tells.
    pub(super) fn notice(&mut self, change: system::Change) {
        let now = Instant::now();
        let is_rested = |told| now.saturating_duration_since(told) >= NOTICE_GAP;
        if self.noticed.is_none_or(is_rested) {
            self.noticed = Some(now);
            info!("{change}");
        } else {
            debug!("{change}");
        }
        self.tell(match change {
            system::Change::Network | system::Change::Resumed => Change::Network,
            system::Change::Resolver | system::Change::ClockSet => Change::Hope,
        });
    }

    /// Passes on what happened outside.
    pub(super) fn tell(&self, change: Change) {
        self.pool.look_again();
        for supervised in self.supervisors.values() {
            supervised.post.tell(change);
        }
    }

    /// Lets another configuration hold; what did not change flies on.
    pub(super) fn reload(&mut self, plan: Plan) {
        // What flies quietly has told nothing for long.
        self.update();
        let old = self.context.plan();
        let told = changes(&old.settings, &plan.settings);
        if told.is_empty() {
            info!("the configuration is read again; nothing has changed");
            return;
        }
        info!("the configuration is read again: {}", told.join(", "));
        if may_lose_relays(&old.settings, &plan.settings) {
            if self.trial.begin(Instant::now()) {
                // While one is on trial, what it replaced is what is known to
                // work.
                self.before.get_or_insert(Rc::clone(&old));
            } else {
                self.before = None;
            }
        }
        self.hold(&old, Rc::new(plan));
    }

    fn hold(&mut self, old: &Plan, plan: Rc<Plan>) {
        let keeps_the_way = keeps_the_way(&old.settings, &plan.settings);
        self.context.set_plan(plan);
        for supervised in self.supervisors.values() {
            supervised.post.plan_has_changed();
            if !keeps_the_way {
                supervised.post.renew();
            }
        }
        self.tell(Change::Asked);
    }

    fn judge(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let flies = self.assignments.any_flies();
        let mut posts = self.supervisors.values().map(|supervised| &supervised.post);
        let flies_anew = posts.any(|post| post.flies_by_the_plan_of_now());
        let mut posts = self.supervisors.values().map(|supervised| &supervised.post);
        let is_awaited = posts.any(|post| post.wants_renewal());
        match self.trial.judge(now, flies, flies_anew, is_awaited) {
            Verdict::Open(until) => until,
            Verdict::Good => {
                self.before = None;
                None
            }
            Verdict::Bad => {
                if let Some(before) = self.before.take() {
                    error!(
                        "the new configuration has reached no relay for two minutes; the one \
                         before holds again. The files still have the new one: mend them and \
                         reload"
                    );
                    let bad = self.context.plan();
                    self.hold(&bad, before);
                }
                None
            }
        }
    }

    /// Ends all tunnels; streams get a moment to end before.
    pub(super) async fn stop(&mut self) {
        self.context.is_stopping.set(true);
        for supervised in self.supervisors.values() {
            supervised.post.leave();
        }
        while self.supervisors.values().any(|supervised| !supervised.post.report().has_ended) {
            self.context.news.wait().await;
        }
    }
}
