//! Kitelet puts the services of a small Linux machine on the public Internet
//! from behind NAT, a firewall or a mobile uplink, over the PageKite protocol.
//!
//! The rooms of the house; arrows point one way:
//! `cli -> {agent, relay, connect} -> {tunnel, http, net, system, config} ->
//! wire`, and [`wire`] imports nothing of ours.

#![forbid(unsafe_code)]

// Kites fly from Unix; visitors run other systems as well.
#[cfg(unix)]
pub mod agent;
pub mod cli;
pub mod config;
#[cfg(feature = "connect")]
pub mod connect;
#[cfg(all(unix, feature = "relay"))]
mod demo;
#[cfg(unix)]
mod html;
#[cfg(unix)]
pub mod http;
pub mod net;
#[cfg(all(unix, feature = "relay"))]
pub mod relay;
#[cfg(unix)]
pub mod system;
#[cfg(unix)]
mod tunnel;
pub mod wire;
