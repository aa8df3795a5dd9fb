//! Answers to the http-01 challenges of an ACME client (RFC 8555 section 8.3)
//! that writes them into a folder, as certbot's `--webroot` does. What is not
//! there goes to the kite, which may have a client of its own.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::request::VisitorRequest;
use super::shared::Relay;

/// Where a certificate authority looks.
const FOLDER: &str = ".well-known/acme-challenge";
/// Longest token; they have 43 characters in practice.
const MAX_TOKEN_BYTES: usize = 128;
/// Longest answer; a token, a dot and 43 characters.
const MAX_ANSWER_BYTES: u64 = 1024;

/// The whole response to a request for a challenge that we have.
pub(super) fn answer(relay: &Relay, request: &VisitorRequest) -> Option<Vec<u8>> {
    let active = relay.active();
    let webroot = active.settings.acme_webroot.as_deref()?;
    let token = token(&request.path)?;
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return None;
    }
    let body = read(&webroot.join(FOLDER).join(token)).or_else(|| read(&webroot.join(token)))?;
    let connection = if request.closes { "Connection: close\r\n" } else { "" };
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
         {connection}\r\n",
        body.len()
    )
    .into_bytes();
    if request.method == "GET" {
        answer.extend_from_slice(&body);
    }
    Some(answer)
}

/// The token in a path; nothing that could lead out of the folder is one.
fn token(path: &str) -> Option<&str> {
    let token = path.strip_prefix('/')?.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let fits = !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    fits.then_some(token)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut body = Vec::new();
    file.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut body).ok()?;
    (body.len() as u64 <= MAX_ANSWER_BYTES).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_nowhere_else() {
        assert_eq!(token("/.well-known/acme-challenge/aB-_9"), Some("aB-_9"));
        for path in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/..",
            "/.well-known/acme-challenge/../x",
            "/.well-known/acme-challenge/a/b",
            "/.well-known/acme-challenge/a%2fb",
            "/.well-known/acme-challengex/a",
            "/.well-known/acme-challenge",
            "/",
        ] {
            assert_eq!(token(path), None, "{path}");
        }
    }
}
