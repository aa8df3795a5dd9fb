//! `errorurl`: where the page for visitors who are not served sends them
//! instead. Both ends have it.

use super::address::is_host_name;

/// Most `errorurl` lines with a domain.
pub const MAX_ERROR_URLS: usize = 256;
/// Longest `errorurl`, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// The lines so far: domain (empty for all the rest) and URL.
#[derive(Debug, Default)]
pub(super) struct ErrorUrls(Vec<(String, String)>);

impl ErrorUrls {
    /// `errorurl = URL` or `errorurl = DOMAIN:URL`; the last one of a domain
    /// holds, and an empty value takes the general one away.
    ///
    /// # Errors
    /// What is wrong and the mend.
    pub(super) fn set(&mut self, value: &str) -> Result<(), String> {
        const SHAPE: &str = "is written URL or DOMAIN:URL, such as https://example.com/sorry.html";
        if value.is_empty() {
            self.0.retain(|(domain, _)| !domain.is_empty());
            return Ok(());
        }
        let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
        let (domain, url) = match value.split_once(':') {
            _ if is_url(value) => ("", value),
            Some((domain, url)) if is_url(url) && is_host_name(domain) => (domain, url),
            _ => return Err(SHAPE.into()),
        };
        let fits = url.len() <= MAX_URL_BYTES
            && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>`\\".contains(&byte));
        if !fits {
            return Err(format!(
                "the URL has at most {MAX_URL_BYTES} bytes, without blanks, quotes, < and >; \
                 write them as %20, %22, %3C, %3E"
            ));
        }
        let domain = domain.to_ascii_lowercase();
        self.0.retain(|(known, _)| *known != domain);
        if self.0.len() > MAX_ERROR_URLS {
            return Err(format!("more than {MAX_ERROR_URLS} domains; remove some"));
        }
        self.0.push((domain, url.to_owned()));
        Ok(())
    }

    /// Sets the general one.
    pub(super) fn set_default(&mut self, url: String) {
        self.0.retain(|(domain, _)| !domain.is_empty());
        self.0.push((String::new(), url));
    }

    /// All of them, each domain once.
    pub(super) fn finish(self) -> Vec<(String, String)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_error_urls() {
        let mut urls = ErrorUrls::default();
        for value in [
            "https://one.example.com/?",
            "box.example.com:http://two.example.com/",
            "https://three.example.com/",
        ] {
            urls.set(value).expect(value);
        }
        assert_eq!(urls.0.len(), 2);
        urls.set("").expect("clear");
        assert_eq!(urls.0[0].0, "box.example.com");
        for value in ["x", "ftp://x", "a b:http://x", "http://x/<script>", "http://x/\"y"] {
            assert!(urls.set(value).is_err(), "{value}");
        }
    }
}
