//! From rc files and command lines to [`Settings`]: the rc format, what was
//! typed, what it means.

mod settings;

pub use settings::*;
