//! The public end: lets agents in, keeps their tunnels, and brings visitors to
//! the kites that fly on them.
//!
//! Who may fly what, and how much: pure decisions in [`admission`] ([`grants`],
//! [`challenge`]), [`flights`], [`takeover`], [`session_ids`], [`quota`],
//! [`rates`], [`visitor_rates`] and [`access`].

pub mod access;
pub mod admission;
pub mod challenge;
pub mod flights;
pub mod grants;
mod names;
pub mod quota;
pub mod rates;
pub mod session_ids;
pub mod takeover;
pub mod visitor_rates;
pub mod windows;
