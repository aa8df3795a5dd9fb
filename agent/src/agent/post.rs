//! Between one supervisor and the rest of the agent: what it is told, and what
//! it tells. Both sides live in one thread; a bell wakes whoever waits.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::assignment::Report;
use super::care::Change;
use crate::tunnel::Notify;
use crate::wire::KiteId;

/// The letter-box of one supervisor.
pub(super) struct Post {
    kites: RefCell<Vec<KiteId>>,
    /// Those that the try or the tunnel of now began with.
    asked: RefCell<Vec<KiteId>>,
    change: Cell<Option<Change>>,
    is_leaving: Cell<bool>,
    is_outdated: Cell<bool>,
    /// The tunnel, or the try, began by another configuration than the one that
    /// holds now.
    is_old: Cell<bool>,
    report: RefCell<Report>,
    /// Rung for the supervisor.
    bell: Notify,
    /// Rung for all that listen to supervisors.
    news: Rc<Notify>,
}

impl Post {
    pub(super) fn new(kites: Vec<KiteId>, news: Rc<Notify>) -> Rc<Self> {
        Rc::new(Self {
            kites: RefCell::new(kites),
            asked: RefCell::default(),
            change: Cell::new(None),
            is_leaving: Cell::new(false),
            is_outdated: Cell::new(false),
            is_old: Cell::new(false),
            report: RefCell::default(),
            bell: Notify::default(),
            news,
        })
    }

    /// Tells the supervisor of a change outside.
    pub(super) fn tell(&self, change: Change) {
        self.change.set(self.change.get().max(Some(change)));
        self.bell.notify();
    }

    /// Tells the supervisor which kites are its.
    pub(super) fn set_kites(&self, kites: Vec<KiteId>) {
        *self.kites.borrow_mut() = kites;
        self.bell.notify();
    }

    /// Tells the supervisor to end once nobody uses its tunnel.
    pub(super) fn leave(&self) {
        self.is_leaving.set(true);
        self.bell.notify();
    }

    /// Tells the supervisor that its tunnel was made by a configuration that
    /// holds no more.
    pub(super) fn renew(&self) {
        self.is_outdated.set(true);
        self.bell.notify();
    }

    /// A try begins, by the configuration that holds now; returns the kites to
    /// ask for.
    pub(super) fn begins(&self) -> Vec<KiteId> {
        self.is_outdated.set(false);
        self.is_old.set(false);
        self.asked.borrow_mut().clone_from(&self.kites.borrow());
        self.kites.borrow().clone()
    }

    /// Whether there are kites that the try or the tunnel of now began without.
    pub(super) fn has_new_kites(&self) -> bool {
        let asked = self.asked.borrow();
        self.kites.borrow().iter().any(|kite| !asked.contains(kite))
    }

    /// Whether kites fly by the configuration that holds now.
    pub(super) fn flies_by_the_plan_of_now(&self) -> bool {
        !self.is_old.get() && !self.report.borrow().flying.is_empty()
    }

    /// Another configuration holds from now on.
    pub(super) fn plan_has_changed(&self) {
        self.is_old.set(true);
    }

    /// Whether the tunnel is better had anew when nobody uses it: its kites are
    /// others now, or the way to the relay has changed.
    pub(super) fn wants_renewal(&self) -> bool {
        let kites = self.kites.borrow();
        let is_gone = |kite: &KiteId| !kites.contains(kite);
        let flies_others = self.report.borrow().flying.iter().any(is_gone);
        self.is_outdated.get() || flies_others || self.has_new_kites()
    }

    /// What the supervisor told last.
    pub(super) fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Whether the supervisor is to end.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.get()
    }

    /// Waits for something to be told.
    pub(super) async fn wait(&self) {
        self.bell.wait().await;
    }

    /// A change since the last call.
    pub(super) fn take_change(&self) -> Option<Change> {
        self.change.take()
    }

    /// Tells what became of the supervisor's relay.
    pub(super) fn tell_back(&self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.borrow_mut();
        let before = report.clone();
        change(&mut report);
        if *report != before {
            self.news.notify();
        }
    }
}
