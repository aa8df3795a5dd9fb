//! stub

pub mod access;
pub mod proxy_protocol;
