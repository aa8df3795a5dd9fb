//! stub

pub mod access;
pub mod answer;
pub mod http;
pub mod proxy_protocol;
