//! `dyndns`: whom to tell by which relays a kite flies, so that its name leads
//! there (`protocol.md` 15).

use super::address::host_port;
use super::problem::quoted;
use super::settings::DynDnsSettings;
use crate::wire::Secret;

/// Longest URL.
const MAX_URL_BYTES: usize = 1024;

/// What pagekite.net takes, and white labels at their own host.
const UPDATE: &str = "/?hostname=%(domain)s&myip=%(ips)s&sign=%(sign)s";
/// The protocol of DynDNS and those that copied it.
const DYNDNS2: &str = "/nic/update?hostname=%(domain)s&myip=%(ip)s";

/// The hosted service's, which `defaults` sets.
pub(super) fn hosted() -> DynDnsSettings {
    settings(format!("http://up.pagekite.net{UPDATE}"), None, true)
}

/// A white label's.
pub(super) fn white_label(domain: &str, https: bool) -> DynDnsSettings {
    let scheme = if https { "https" } else { "http" };
    settings(format!("{scheme}://dnsup.{domain}{UPDATE}"), None, false)
}

/// `dyndns = URL`, `PROVIDER` or `USER:PASSWORD@PROVIDER`; empty is none.
pub(super) fn read(value: &str) -> Result<Option<DynDnsSettings>, String> {
    const SHAPE: &str = "is pagekite.net, USER:PASSWORD@dyndns.org, USER:PASSWORD@no-ip.com, or \
         a URL such as https://dns.example.com/?name=%(domain)s&to=%(ips)s&sign=%(sign)s";
    if value.is_empty() {
        return Ok(None);
    }
    if value.len() > MAX_URL_BYTES {
        return Err(format!("is longer than {MAX_URL_BYTES} bytes"));
    }
    if value.starts_with("http://") || value.starts_with("https://") {
        return url(value).map(Some).ok_or_else(|| SHAPE.into());
    }
    let (account, provider) = match value.rsplit_once('@') {
        Some((account, provider)) => {
            let (user, password) = account.split_once(':').ok_or(SHAPE)?;
            (Some((user.to_owned(), Secret::new(password.as_bytes()))), provider)
        }
        None => (None, value),
    };
    match provider {
        "pagekite.net" => Ok(Some(hosted())),
        "dyndns.org" | "no-ip.com" if account.is_none() => {
            Err(format!("{provider} wants an account: USER:PASSWORD@{provider}"))
        }
        "dyndns.org" => {
            Ok(Some(settings(format!("https://members.dyndns.org{DYNDNS2}"), account, false)))
        }
        "no-ip.com" => {
            Ok(Some(settings(format!("https://dynupdate.no-ip.com{DYNDNS2}"), account, false)))
        }
        // It may hold a password.
        _ if account.is_some() => Err(SHAPE.into()),
        // It may be an account without its provider.
        other if other.contains([':', '/', '?']) => Err(SHAPE.into()),
        other => Err(format!("{} is no known provider; it {SHAPE}", quoted(other))),
    }
}

/// A URL of one's own; an account in it is sent as HTTP Basic, not as a part of
/// the URL.
fn url(value: &str) -> Option<DynDnsSettings> {
    let (scheme, rest) = value.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (account, host) = match authority.rsplit_once('@') {
        Some((account, host)) => {
            let (user, password) = account.split_once(':')?;
            (Some((user.to_owned(), Secret::new(password.as_bytes()))), host)
        }
        None => (None, authority),
    };
    host_port(host, Some(1))?;
    let is_url = value.bytes().all(|byte| byte.is_ascii_graphic());
    let slash = if path.starts_with('/') { "" } else { "/" };
    is_url.then(|| settings(format!("{scheme}://{host}{slash}{path}"), account, false))
}

fn settings(
    template: String,
    account: Option<(String, Secret)>,
    inside_tls: bool,
) -> DynDnsSettings {
    DynDnsSettings { template, account, inside_tls }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_and_urls_are_known() {
        assert_eq!(read(""), Ok(None));
        assert!(read("pagekite.net").is_ok_and(|read| read.is_some_and(|read| read.inside_tls)));
        let own = "https://dns.example.com/?n=%(domain)s";
        assert!(read(own).is_ok_and(|read| read.is_some_and(|read| read.template == own)));
        let account = read("me:s3cret@no-ip.com").expect("valid").expect("some").account;
        assert_eq!(account.expect("an account").0, "me");
    }

    #[test]
    fn an_account_in_a_url_is_no_part_of_it() {
        let read = read("http://me:s3cret@dns.example.com:8080?n=%(domain)s");
        let read = read.expect("valid").expect("some");
        assert_eq!(read.template, "http://dns.example.com:8080/?n=%(domain)s");
        assert_eq!(read.account.expect("an account").0, "me");
    }

    #[test]
    fn what_is_wrong_is_told_without_a_password() {
        for wrong in
            ["dyndns.org", "example.org", "http://", "http:///x", "http://a b/", "http://h:99999/"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let text = read("me:s3cret@example.org").expect_err("unknown");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
