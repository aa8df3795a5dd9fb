//! The certificates of the names whose TLS ends at the relay: `tls_endpoint`
//! and `tls_default` (features E). Their contents are read by who serves them.

use std::io;
use std::path::Path;

use super::super::environment::Environment;
use super::super::grammar::TypedLine;
use super::super::problem::{Place, Report, quoted};
use super::super::relay_settings::CertificateFiles;
use super::super::source::resolve_path;
use crate::wire::KiteId;

/// Most certificates: each is parsed at the start and at every reload.
pub const MAX_CERTIFICATES: usize = 1024;
/// The key and the chain in a folder, as ACME clients name them.
const KEY_FILE: &str = "privkey.pem";
const CHAIN_FILE: &str = "fullchain.pem";

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct CertificateLines {
    endpoints: Vec<Endpoint>,
    default: Option<(String, Place)>,
    self_sign: bool,
}

/// A `tls_endpoint`.
#[derive(Debug)]
struct Endpoint {
    files: CertificateFiles,
    place: Place,
    /// What to say of a file that is not there, unless it is to be made.
    missing: Option<String>,
}

impl CertificateLines {
    /// `tls_endpoint = NAME:PATH`; one of the command line takes the place of
    /// one of the files.
    pub(super) fn add(
        &mut self,
        line: &TypedLine,
        environment: &dyn Environment,
        report: &mut Report,
    ) -> Result<(), String> {
        let (name, path) = line.value.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or(
            "is written NAME:FILE with key and chain in one PEM file, or NAME:FOLDER with \
             fullchain.pem and privkey.pem",
        )?;
        let name = dns_name(name)?;
        let path = resolve_path(&line.place, path, environment);
        let missing = match environment.is_folder(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(cannot_read(&path, &error))
            }
            _ => {
                look_at(&path, environment, report)?;
                None
            }
        };
        if let Some(index) = self.endpoints.iter().position(|known| known.files.name == name) {
            let earlier = &self.endpoints[index].place;
            if line.place.file().is_some() || earlier.file().is_none() {
                return Err(format!("{name} stands at {earlier} already; remove one of them"));
            }
            self.endpoints.remove(index);
        }
        if self.endpoints.len() >= MAX_CERTIFICATES {
            return Err(format!("more than {MAX_CERTIFICATES} certificates; remove some"));
        }
        let (files, place) = (CertificateFiles { name, path }, line.place.clone());
        self.endpoints.push(Endpoint { files, place, missing });
        Ok(())
    }

    /// `selfsign`: what is missing is made.
    pub(super) fn set_self_sign(&mut self) {
        self.self_sign = true;
    }

    /// Whether it is.
    pub(super) fn self_sign(&self) -> bool {
        self.self_sign
    }

    /// `tls_default = NAME`; an empty one means the first certificate again.
    pub(super) fn set_default(&mut self, line: &TypedLine) -> Result<(), String> {
        self.default = match line.value.as_str() {
            "" => None,
            value => Some((dns_name(value)?, line.place.clone())),
        };
        Ok(())
    }

    /// Certificates, and the name of the one for who asks for no name. A
    /// mistake in a `tls_endpoint` is told already, so `tls_default` is not
    /// blamed then.
    pub(super) fn finish(self, report: &mut Report) -> (Vec<CertificateFiles>, Option<String>) {
        for Endpoint { place, missing, .. } in &self.endpoints {
            if let Some(text) = missing.as_ref().filter(|_| !self.self_sign) {
                report.mistake(place, "tls_endpoint", text);
            }
        }
        let certificates: Vec<CertificateFiles> =
            self.endpoints.into_iter().map(|endpoint| endpoint.files).collect();
        let Some((name, place)) = self.default else {
            let plain = certificates.iter().find(|certificate| !certificate.name.contains('*'));
            let name = plain.or(certificates.first()).map(|certificate| certificate.name.clone());
            return (certificates, name);
        };
        let exact = certificates.iter().find(|certificate| certificate.name == name);
        let wider = || {
            // As the relay looks for it: the nearest parent first.
            let (_, parents) = name.split_once('.')?;
            let mut parents =
                std::iter::successors(Some(parents), |rest| Some(rest.split_once('.')?.1));
            parents.find_map(|parent| {
                let of = |known: &&CertificateFiles| known.name.strip_prefix("*.") == Some(parent);
                certificates.iter().find(of)
            })
        };
        let found = exact.or_else(wider).map(|certificate| certificate.name.clone());
        let told = report.mistakes.iter().any(|mistake| mistake.option == "tls_endpoint");
        if found.is_none() && !told {
            let text = format!("no tls_endpoint is for {name}; write tls_endpoint = {name}:FILE");
            report.mistake(&place, "tls_default", text);
        }
        (certificates, found)
    }
}

/// A name that a certificate may have, in lower case; `*.parent` too.
fn dns_name(text: &str) -> Result<String, String> {
    let id = KiteId::new("https", None, text);
    let id = id.map_err(|_| {
        format!("{} is no DNS name; write relay.example.com or *.example.com", quoted(text))
    })?;
    Ok(id.domain().to_owned())
}

/// Whether key and chain are there, and for whom.
fn look_at(path: &Path, environment: &dyn Environment, report: &mut Report) -> Result<(), String> {
    let (key, chain) = match environment.is_folder(path) {
        Ok(true) => (path.join(KEY_FILE), Some(path.join(CHAIN_FILE))),
        Ok(false) => (path.to_owned(), None),
        Err(error) => return Err(cannot_read(path, &error)),
    };
    if let Some(chain) = chain {
        environment.read(&chain, 0).map_err(|error| cannot_read(&chain, &error))?;
    }
    let read = environment.read(&key, 0).map_err(|error| cannot_read(&key, &error))?;
    if read.world_readable {
        let text = format!(
            "every user of this machine can read the key in this file; run: chmod o-r {}",
            key.display()
        );
        report.warning(&Place::path(&key), "", text);
    }
    Ok(())
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{path} does not exist; name a PEM file with key and chain, or a folder with \
             {CHAIN_FILE} and {KEY_FILE}; or write selfsign, and the relay makes the file"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not read {path}; run kitelet as root, or give it to its user")
        }
        _ => format!("{path} cannot be read ({error}); mend the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes_with, settings_with};
    use super::*;

    const FILES: [(&str, &str); 5] = [
        ("/k/one.pem", ""),
        ("/live/two/fullchain.pem", ""),
        ("/live/two/privkey.pem", ""),
        ("/live/half/fullchain.pem", ""),
        ("/wild.pem", ""),
    ];

    #[test]
    fn a_path_is_relative_to_its_file_and_may_be_a_folder() {
        let read = settings_with(
            "tls_endpoint = *.kites.example.com:/wild.pem\ntls_endpoint = One.b : one.pem
            tls_endpoint = two.b:/live/two",
            &FILES,
        );
        let paths: Vec<String> = read
            .certificates
            .iter()
            .map(|certificate| format!("{} {}", certificate.name, certificate.path.display()))
            .collect();
        assert_eq!(paths, ["*.kites.example.com /wild.pem", "one.b /k/one.pem", "two.b /live/two"]);
        assert_eq!(read.default_certificate.as_deref(), Some("one.b"));
    }

    #[test]
    fn the_default_is_a_certificate_that_fits_its_name() {
        for (name, expected) in [
            ("two.b", "two.b"),
            ("relay.kites.example.com", "*.kites.example.com"),
            ("a.b.kites.example.com", "*.kites.example.com"),
        ] {
            let text = format!(
                "tls_default = {name}\ntls_endpoint = *.kites.example.com:/wild.pem
                tls_endpoint = two.b:/live/two"
            );
            let read = settings_with(&text, &FILES);
            assert_eq!(read.default_certificate.as_deref(), Some(expected));
        }
        // With nothing but wildcards, the first one is better than none.
        let mut report = Report::new();
        let endpoint = |name: &str| {
            let files = CertificateFiles { name: name.into(), path: "/wild.pem".into() };
            Endpoint { files, place: Place::command_line(), missing: None }
        };
        let endpoints = vec![endpoint("*.a.b"), endpoint("*.c.d")];
        let lines = CertificateLines { endpoints, ..CertificateLines::default() };
        let (_, default) = lines.finish(&mut report);
        assert_eq!(default.as_deref(), Some("*.a.b"));
    }

    #[test]
    fn what_is_missing_may_be_made() {
        for text in ["selfsign\ntls_endpoint = a.b:new.pem", "tls_endpoint = a.b:new.pem\nselfsign"]
        {
            let read = settings_with(text, &FILES);
            assert!(read.self_sign);
            assert_eq!(read.certificates[0].path, Path::new("/k/new.pem"));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("tls_endpoint = one.b", "is written NAME:FILE"),
            ("tls_endpoint = one.b:", "is written NAME:FILE"),
            ("tls_endpoint = o/ne:/wild.pem", "o/ne is no DNS name"),
            ("tls_endpoint = one.b:/none.pem", "/none.pem does not exist"),
            ("tls_endpoint = one.b:/live/half", "/live/half/privkey.pem does not exist"),
            ("tls_endpoint = a.b:/wild.pem\ntls_endpoint = A.b:one.pem", "a.b stands at /k/r.rc:"),
            (
                "tls_default = example.com\ntls_endpoint = *.example.com:/wild.pem",
                "no tls_endpoint",
            ),
        ] {
            let told = mistakes_with(text, &FILES);
            assert!(told.contains(part), "{text}: {told}");
        }
        let told = mistakes_with("tls_endpoint = one.b:/none.pem\ntls_default = one.b", &FILES);
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
