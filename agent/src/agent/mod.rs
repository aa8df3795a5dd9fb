//! stub

pub mod access;
pub mod answer;
pub mod proxy_protocol;
