//! The URL firewall: requests that scanners send to every address on the
//! Internet, and that a device's own pages rarely need (`protocol.md` 13.2).
//!
//! The rules are PageKite's, learnt by sending requests through it: a pattern
//! holds right after a slash, of the query too, and needs no end. Where this
//! one differs, it is for what PageKite's means and misses:
//!
//! - The path is percent-decoded once, as services do it, or `/%61dmin` would
//!   walk round the rules. The query is matched as it stands: a page that
//!   hands an encoded URL to a login does nothing wrong.
//! - `\` counts as `/`, `/./` as `/`, and of `http://host/path` the path counts.
//! - `/wp-admin/admin-ajax.php` passes, as intended there: sites with WordPress
//!   need it for their public pages.

/// Methods that are looked at; nobody logs in with a HEAD.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What a path may not begin with.
const AT_START: [(&str, &str); 7] = [
    ("xampp/", "addresses under /xampp/"),
    ("security/", "addresses under /security/"),
    ("licenses/", "addresses under /licenses/"),
    ("webalizer/", "addresses under /webalizer/"),
    ("server-status", "addresses that begin with /server-status"),
    ("server-info", "addresses that begin with /server-info"),
    ("adm", "addresses that begin with /adm"),
];

/// What may not follow any slash.
const ANYWHERE: [(&str, &str); 6] = [
    ("wp-config.php", "addresses with /wp-config.php"),
    ("system32/", "addresses with /system32/"),
    ("..", "addresses with /.. in them"),
    (".htaccess", "addresses with /.htaccess"),
    (".htpass", "addresses with /.htpass"),
    ("setup.php", "addresses with /setup.php"),
];

/// What may not follow any slash, with `.php` anywhere behind it.
const BEFORE_PHP: [(&str, &str); 2] =
    [("adm", "addresses with /adm….php"), ("install", "addresses with /install….php")];

/// The rule that a request breaks, in words to follow "blocks".
pub(super) fn broken_rule(method: &[u8], target: &[u8]) -> Option<&'static str> {
    METHODS
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(method))
        .then(|| normal_form(target))
        .and_then(|path| broken_by(&path))
}

/// `path` begins with a slash and is in lower case.
fn broken_by(path: &[u8]) -> Option<&'static str> {
    let start = after_slashes(path);
    if let Some((_, rule)) = AT_START.iter().find(|(bad, _)| begins(start, bad)) {
        return Some(rule);
    }
    let last_php = path.windows(4).rposition(|window| window == b".php");
    for (index, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let rest = &path[index + 1..];
        if let Some((_, rule)) = ANYWHERE.iter().find(|(bad, _)| begins(rest, bad)) {
            return Some(rule);
        }
        if is_wordpress_admin(rest) {
            return Some("addresses with /wp-admin/");
        }
        if is_mysql_manager(rest) {
            return Some("addresses with /phpmyadmin and the like");
        }
        let is_before_php = |begin: &str| {
            begins(rest, begin) && last_php.is_some_and(|php| php > index + begin.len())
        };
        let rule = BEFORE_PHP.iter().find(|(begin, _)| is_before_php(begin));
        match rule {
            Some((_, rule)) if !is_admin_ajax(&path[..=index], rest) => return Some(rule),
            _ => {}
        }
    }
    None
}

fn begins(path: &[u8], with: &str) -> bool {
    path.starts_with(with.as_bytes())
}

/// `wp-admin/` but for what public pages need of it.
fn is_wordpress_admin(rest: &[u8]) -> bool {
    rest.strip_prefix(b"wp-admin/")
        .is_some_and(|inside| !begins(inside, "admin-ajax") && !begins(inside, "css/"))
}

/// `[php|sql]my[sql]adm` or `…manager`.
fn is_mysql_manager(rest: &[u8]) -> bool {
    let rest = rest.strip_prefix(b"php").or_else(|| rest.strip_prefix(b"sql")).unwrap_or(rest);
    let Some(rest) = rest.strip_prefix(b"my") else {
        return false;
    };
    let rest = rest.strip_prefix(b"sql").unwrap_or(rest);
    begins(rest, "adm") || begins(rest, "manager")
}

/// Whether this is `/wp-admin/admin-ajax.php` itself, with a query perhaps.
fn is_admin_ajax(before: &[u8], rest: &[u8]) -> bool {
    before.ends_with(b"/wp-admin/")
        && rest
            .strip_prefix(b"admin-ajax.php")
            .is_some_and(|end| matches!(end, [] | [b'?' | b'#', ..]))
}

/// What follows the slashes, and `./`, at the begin.
fn after_slashes(path: &[u8]) -> &[u8] {
    let mut rest = path;
    loop {
        rest = match rest {
            [b'/', more @ ..] | [b'.', b'/', more @ ..] => more,
            _ => return rest,
        };
    }
}

/// Lower case, the path decoded, always with a slash at the begin.
fn normal_form(target: &[u8]) -> Vec<u8> {
    let target = without_authority(target);
    let path_end = target.iter().position(|byte| *byte == b'?');
    let (path, query) = target.split_at(path_end.unwrap_or(target.len()));
    let mut normal = Vec::with_capacity(target.len() + 1);
    if !matches!(path, [b'/', ..]) {
        normal.push(b'/');
    }
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (*first, &rest[1..]),
            },
            _ => (*first, after),
        };
        normal.push(match byte {
            b'\\' => b'/',
            byte => byte.to_ascii_lowercase(),
        });
        rest = after;
    }
    normal.extend(query.iter().map(u8::to_ascii_lowercase));
    normal
}

/// Takes `http://host:port` off (RFC 9112 section 3.2.2).
fn without_authority(target: &[u8]) -> &[u8] {
    let scheme_end = target
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte))
        .unwrap_or(0);
    match target[scheme_end..].strip_prefix(b"://") {
        Some(rest) if scheme_end > 0 => {
            let end = rest.iter().position(|byte| b"/?#\\".contains(byte));
            &rest[end.unwrap_or(rest.len())..]
        }
        _ => target,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(method: &str, target: &str) -> bool {
        broken_rule(method.as_bytes(), target.as_bytes()).is_some()
    }

    /// What PageKite 1.5.2 was seen to block.
    #[test]
    fn blocks_what_pagekite_blocks() {
        for target in [
            "/admin",
            "/ADMIN",
            "/adm",
            "/administration/foo",
            "//admin",
            "/admxphp",
            "/xampp/",
            "/server-status",
            "/server-statusfoo",
            "/server-info?x",
            "/security/",
            "/licenses/",
            "/webalizer/",
            "/wp-admin/",
            "/x/wp-admin/",
            "/?x=/wp-admin/",
            "/wp-admin/css",
            "/wp-admin/foo-css/",
            "/wp-admin/load-styles.php",
            "/wp-admin/admin-ajax.phpx",
            "/wp-admin/install.php",
            "/wp-config.php",
            "/wp-config.php.bak",
            "/system32/",
            "/winnt/system32/cmd.exe",
            "/..",
            "/../x",
            "/x?a=/../",
            "/a/..b",
            "/y#/../",
            "/.htaccess",
            "/.htpasswd",
            "/.htpass",
            "/phpmyadmin/",
            "/phpMyAdmin",
            "/myadmin",
            "/x/myadmin",
            "/mysqladmin",
            "/sqlmyadm",
            "/sqlmysqladm",
            "/mymanager",
            "/mysqlmanager",
            "/phpmymanager",
            "/phpmysqlmanager",
            "/x/adm.php",
            "/x/admin.php",
            "/x/admin.php5",
            "/x/admin/y/foo.php",
            "/x/admin?x=foo.php",
            "/install.php",
            "/install/foo.php",
            "/x/install/index.php",
            "/installation.php?x",
            "/setup.php",
            "/x/setup.phpx",
            "/?q=/setup.php",
            "http://kite.test/x/../",
        ] {
            assert!(blocked("GET", target), "{target}");
        }
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "get", "Post"] {
            assert!(blocked(method, "/wp-admin/"), "{method}");
        }
    }

    /// What PageKite 1.5.2 was seen to let through.
    #[test]
    fn passes_what_pagekite_passes() {
        for target in [
            "/",
            "/x/admin",
            "/x/administrator/",
            "/xampp",
            "/x/xampp/",
            "/x/server-status",
            "/security",
            "/securityfoo/",
            "/wp-admin",
            "/xwp-admin/",
            "/?x=wp-admin/",
            "/x?wp-admin/",
            "/wp-admin/admin-ajax",
            "/wp-admin/css/x.css",
            "/wp-config",
            "/wp-config-sample.php",
            "/xwp-config.php",
            "/system32",
            "/xsystem32/",
            "/x..",
            "/x..y/",
            "/x?a=1..5",
            "/x?a=../",
            "/x.htaccess",
            "/.htpas",
            "/.htfoo",
            "/sqladm",
            "/phpadmin",
            "/sqlmanager",
            "/manager",
            "/xmyadmin",
            "/x-phpmyadmin/",
            "/phpmyfoo",
            "/x/xadmin.php",
            "/x/admxphp",
            "/xinstall.php",
            "/install",
            "/xsetup.php",
            "/setupxphp",
            "/setup/index.php",
            "/?q=setup.php",
            "/?/admin",
            "/x/.hidden",
            "/wp-login.php",
        ] {
            assert!(!blocked("GET", target), "{target}");
        }
        for method in ["HEAD", "OPTIONS", "PROPFIND", "CONNECT", ""] {
            assert!(!blocked(method, "/wp-admin/"), "{method}");
        }
    }

    #[test]
    fn other_spellings_are_blocked_too() {
        for target in [
            "/%61dmin",
            "/%41DMIN",
            "%2fadmin",
            "/x/%2e%2e/",
            "/x/%2E./",
            "/x%2f..%2f",
            "/x/..%5cy",
            "/x\\..\\y",
            "/wp-admin%2f",
            "/x/adm%00.php",
            "/./admin",
            "/.//./admin",
            "\\admin",
            "admin",
            "http://kite.test/admin",
            "HTTPS://user@kite.test:80//admin",
            "http://kite.test\\admin",
            "http:///admin",
        ] {
            assert!(blocked("GET", target), "{target}");
        }
    }

    #[test]
    fn decoding_happens_once_and_in_the_path_only() {
        for target in [
            "/%2561dmin",
            "/wp-login.php?redirect_to=http%3A%2F%2Fx%2Fwp-admin%2F",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%",
            "*",
            "",
            "http://kite.test",
            "http://admin",
            "http://kite.test?x",
        ] {
            assert!(!blocked("GET", target), "{target}");
        }
    }

    #[test]
    fn the_public_part_of_wordpress_passes() {
        for target in [
            "/wp-admin/admin-ajax.php",
            "/wp-admin/admin-ajax.php?action=x",
            "/blog/wp-admin/admin-ajax.php",
            "/WP-Admin/Admin-Ajax.php",
        ] {
            assert!(!blocked("POST", target), "{target}");
        }
        for target in [
            "/admin-ajax.php",
            "/x/admin-ajax.php",
            "/xwp-admin/admin-ajax.php",
            "/wp-admin/admin-ajax.php/../users.php",
            "/wp-admin/admin-ajax.php/users.php",
            "/wp-admin/admin-ajax.php?x=/../",
            "/wp-admin/admin-ajax.php?x=/admin.php",
        ] {
            assert!(blocked("POST", target), "{target}");
        }
    }

    #[test]
    fn the_rule_is_named() {
        for (target, part) in [
            ("/admin", "/adm"),
            ("/wp-admin/", "/wp-admin/"),
            ("/phpmyadmin", "/phpmyadmin"),
            ("/x/setup.php", "/setup.php"),
        ] {
            let rule = broken_rule(b"GET", target.as_bytes()).expect(target);
            assert!(rule.contains(part), "{rule}");
        }
    }
}
