//! The public end: lets agents in, keeps their tunnels, and brings visitors to
//! the kites that fly on them.
//!
//! Who may fly what, and how much: pure decisions in [`admission`] ([`grants`],
//! [`challenge`]), [`flights`], [`takeover`], [`session_ids`], [`quota`],
//! [`rates`], [`visitor_rates`] and [`access`]; [`authority`] asks others.
//! What a connection is and wants: [`arrival`], [`request`]; what it is told:
//! [`page`], [`reply`].
//!
//! `listener` takes connections in, `reception` finds out what they are;
//! `handshake` and `registrar` serve agents, `visit` and `blind` visitors, each
//! of whom has a `stream`.

mod access_log;
mod acme;
mod active;
mod answer;
mod blind;
mod caller;
mod certificates;
mod exchange;
mod gone;
mod guest;
mod handshake;
mod head;
mod listener;
mod names;
mod permit;
mod reception;
mod registrar;
mod route;
pub mod self_signed;
mod service;
mod shared;
mod stop;
mod stream;
mod tunnels;
mod visit;
mod websocket;

pub mod access;
pub mod admission;
pub mod arrival;
pub mod authority;
pub mod challenge;
pub mod flights;
pub mod grants;
pub mod page;
pub mod quota;
pub mod rates;
pub mod reply;
pub mod request;
pub mod session_ids;
pub mod takeover;
pub mod visitor_rates;
pub mod windows;

pub use active::check_texts;
pub(crate) use answer::write;
pub use certificates::look_at as look_at_certificate;
pub(crate) use head::read_head;
pub use listener::BindError;
pub(crate) use service::{Doings, Embedded};
pub use service::{StartError, run};
pub(crate) use visit::header;
