//! What the JSON means that a program answers with (`protocol.md` 14).

use serde_json::{Map, Value};

use super::failure::Failure;
use super::{OVER_QUOTA, Ruling, UNAUTHORIZED, WRONG_SIGNATURE, reason_word};
use crate::wire::{KiteRequest, Quota, Secret};

/// Reads the output of a program: one object with `secret`, and where they are
/// wanted `quota_kb` (absent is no limit, 0 or less is used up), `quota_days`,
/// `quota_conns`, `ips_per_sec-ips`, `ips_per_sec-secs`, `reason` and `error`.
///
/// Only who signed with the secret learns about the quota. Without a secret,
/// with an empty one (which everybody knows) or with an `error`, the kite is
/// refused.
///
/// # Errors
/// [`Failure::Json`] and [`Failure::Key`] when the output is of another form.
pub(super) fn rule(
    output: &[u8],
    request: &KiteRequest,
    unix_seconds: u64,
) -> Result<Ruling, Failure> {
    // The error's text names a line and a column, and nothing of the output.
    let object: Map<String, Value> =
        serde_json::from_slice(output).map_err(|error| Failure::Json(error.to_string()))?;
    let (error, reason) = (text(&object, "error")?, text(&object, "reason")?);
    let secret = text(&object, "secret")?.filter(|secret| !secret.is_empty());
    let secret = match (secret, error) {
        (Some(secret), None | Some("")) => secret,
        (_, error) => {
            let why = reason.or(error).unwrap_or_default();
            return Ok(Ruling::Refused(reason_word(why, UNAUTHORIZED)));
        }
    };
    if !request.is_signed_with(secret.as_bytes(), unix_seconds) {
        return Ok(Ruling::refused(WRONG_SIGNATURE));
    }
    let kilobytes = number(&object, "quota_kb")?;
    if kilobytes.is_some_and(|kilobytes| kilobytes <= 0) {
        return Ok(Ruling::Refused(reason_word(reason.unwrap_or_default(), OVER_QUOTA)));
    }
    let (ips, seconds) = ("ips_per_sec-ips", "ips_per_sec-secs");
    let quota = Quota {
        kilobytes,
        days: count(&object, "quota_days")?,
        connections: count(&object, "quota_conns")?,
        visitors: match (count(&object, ips)?, count(&object, seconds)?) {
            (Some(addresses @ 1..), Some(seconds @ 1..)) => {
                Some((clamp(addresses), clamp(seconds)))
            }
            // Nobody, or in no time, is how a limit is left out.
            (Some(_), Some(_)) | (None, None) => None,
            (None, Some(_)) => return Err(Failure::Key(ips)),
            (Some(_), None) => return Err(Failure::Key(seconds)),
        },
    };
    Ok(Ruling::Granted { quota, secret: Some(Secret::new(secret)) })
}

fn text<'a>(object: &'a Map<String, Value>, key: &'static str) -> Result<Option<&'a str>, Failure> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::Key(key)),
    }
}

/// A number, rounded down: programs divide bytes by 1024.
fn number(object: &Map<String, Value>, key: &'static str) -> Result<Option<i64>, Failure> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            // A number too large for the type becomes the largest one.
            let rounded = || number.as_f64().map(|number| number.floor() as i64);
            number.as_i64().or_else(rounded).map(Some).ok_or(Failure::Key(key))
        }
        Some(_) => Err(Failure::Key(key)),
    }
}

/// A number that is not negative.
fn count(object: &Map<String, Value>, key: &'static str) -> Result<Option<i64>, Failure> {
    match number(object, key)? {
        Some(..0) => Err(Failure::Key(key)),
        number => Ok(number),
    }
}

fn clamp(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{KiteId, Salt};

    const NOW: u64 = 1_700_000_000;

    fn request() -> KiteRequest {
        let id = KiteId::new("http", None, "kite.test").expect("valid");
        KiteRequest::sign(&id, "0011", "t2233", b"s3cret", Salt::from_random([1, 2, 3, 4]))
    }

    fn ask(output: &str) -> Result<Ruling, Failure> {
        rule(output.as_bytes(), &request(), NOW)
    }

    fn refused(reason: &str) -> Result<Ruling, Failure> {
        Ok(Ruling::Refused(reason.to_owned()))
    }

    fn quota(output: &str) -> Quota {
        match ask(output) {
            Ok(Ruling::Granted { quota, secret: Some(secret) }) => {
                assert_eq!(secret.bytes(), b"s3cret");
                quota
            }
            other => panic!("{output}: {other:?}"),
        }
    }

    #[test]
    fn the_right_secret_lets_a_kite_fly() {
        assert_eq!(quota("{\"secret\": \"s3cret\"}\n"), Quota::default());
        let all = r#"{"secret": "s3cret", "quota_kb": 51200, "quota_days": 30, "quota_conns": 3,
            "ips_per_sec-ips": 5, "ips_per_sec-secs": 3600, "reason": "unused", "other": [1]}"#;
        let wanted = Quota {
            kilobytes: Some(51200),
            days: Some(30),
            connections: Some(3),
            visitors: Some((5, 3600)),
        };
        assert_eq!(quota(all), wanted);
        let nulls = r#"{"secret":"s3cret","quota_kb":null,"quota_days":null,"error":null}"#;
        assert_eq!(quota(nulls), Quota::default());
    }

    #[test]
    fn a_wrong_secret_is_the_wrong_signature_whatever_the_quota() {
        assert_eq!(ask(r#"{"secret": "other"}"#), refused("signature"));
        let used_up = r#"{"secret": "other", "quota_kb": 0, "reason": "expired"}"#;
        assert_eq!(ask(used_up), refused("signature"));
    }

    #[test]
    fn no_secret_is_a_refusal() {
        for (output, reason) in [
            ("{}", "unauthorized"),
            (r#"{"secret": ""}"#, "unauthorized"),
            (r#"{"secret": null}"#, "unauthorized"),
            (r#"{"error": "No such user"}"#, "No_such_user"),
            (r#"{"error": "long story", "reason": "nodays"}"#, "nodays"),
            (r#"{"secret": "s3cret", "error": "database is away"}"#, "database_is_away"),
            (r#"{"reason": "a\r\nb;"}"#, "a__b_"),
        ] {
            assert_eq!(ask(output), refused(reason), "{output}");
        }
    }

    #[test]
    fn an_empty_secret_lets_in_nobody_who_signed_with_it() {
        let id = KiteId::new("http", None, "kite.test").expect("valid");
        let request = KiteRequest::sign(&id, "00", "t2", b"", Salt::from_random([1, 2, 3, 4]));
        let ruling = rule(br#"{"secret": ""}"#, &request, NOW);
        assert_eq!(ruling, refused("unauthorized"));
    }

    #[test]
    fn numbers_are_rounded_down_and_bounded() {
        let kilobytes = |number: &str| {
            quota(&format!(r#"{{"secret": "s3cret", "quota_kb": {number}}}"#)).kilobytes
        };
        assert_eq!(kilobytes("1.9"), Some(1));
        assert_eq!(kilobytes("5e3"), Some(5000));
        for huge in ["1e300", "18446744073709551615", "9223372036854775808"] {
            assert_eq!(kilobytes(huge), Some(i64::MAX), "{huge}");
        }
        for used_up in ["0", "-5", "0.5", "-1e300"] {
            let output = format!(r#"{{"secret": "s3cret", "quota_kb": {used_up}}}"#);
            assert_eq!(ask(&output), refused("quota"), "{used_up}");
        }
        let rate = r#"{"secret": "s3cret", "ips_per_sec-ips": 0, "ips_per_sec-secs": 9}"#;
        assert_eq!(quota(rate).visitors, None);
    }

    #[test]
    fn what_cannot_be_read_is_no_answer() {
        for garbage in ["", "null", "[]", "secret", "{", "{} {}", "{\"secret\": \"s3cret\"} x"] {
            assert!(matches!(ask(garbage), Err(Failure::Json(_))), "{garbage}");
        }
        let deep = "[".repeat(16_000);
        assert!(matches!(ask(&deep), Err(Failure::Json(_))));
        assert!(rule(b"{\"secret\": \"\xff\"}", &request(), NOW).is_err());
        for (pair, key) in [
            (r#""quota_kb": "5""#, "quota_kb"),
            (r#""quota_kb": true"#, "quota_kb"),
            (r#""quota_days": -1"#, "quota_days"),
            (r#""quota_conns": []"#, "quota_conns"),
            (r#""ips_per_sec-ips": 5"#, "ips_per_sec-secs"),
            (r#""ips_per_sec-secs": 5"#, "ips_per_sec-ips"),
            (r#""error": {}"#, "error"),
        ] {
            let output = format!(r#"{{"secret": "s3cret", {pair}}}"#);
            assert_eq!(ask(&output), Err(Failure::Key(key)), "{pair}");
        }
        assert_eq!(ask(r#"{"secret": 12345}"#), Err(Failure::Key("secret")));
    }

    #[test]
    fn an_error_text_does_not_tell_the_secret() {
        let broken = "{\"secret\": \"s3cret\" \"quota_kb\": 1}";
        assert!(!ask(broken).expect_err("broken").to_string().contains("s3cret"));
    }
}
