//! From sources to typed lines: opens files and folders, follows `optfile` and
//! `optdir` in place, and keeps every bound.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::environment::Environment;
use super::grammar::{TypedLine, read_file, read_line};
use super::options::{Action, Meaning, Role};
use super::problem::{Place, Report};
use super::short::ShortKite;

/// Largest rc file, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Most bytes of all rc files together.
pub const MAX_TOTAL_BYTES: usize = 4 * 1024 * 1024;
/// Most rc files, included ones counted each time.
pub const MAX_FILES: usize = 256;
/// Most options in all files together.
pub const MAX_LINES: usize = 16 * 1024;
/// Files inside files (features A).
pub const MAX_NESTING: usize = 25;

/// Where a configuration comes from; later sources win where the last one wins.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// An rc file, or a folder of `*.rc` files.
    Path(PathBuf),
    /// Options of the command line, each as a line of an rc file. Relays, the
    /// names of their certificates and a secret replace those of files.
    Options(Vec<String>),
    /// Kites of the command line; those of the files stay on the ground.
    Kites(Vec<ShortKite>),
    /// The file that messages tell the user to write to, when it is not the
    /// first [`Source::Path`].
    WriteTo(PathBuf),
}

// An option of a command line may hold a secret.
impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => formatter.debug_tuple("Path").field(path).finish(),
            Self::Options(lines) => formatter.debug_tuple("Options").field(&lines.len()).finish(),
            Self::Kites(kites) => formatter.debug_tuple("Kites").field(kites).finish(),
            Self::WriteTo(path) => formatter.debug_tuple("WriteTo").field(path).finish(),
        }
    }
}

/// Reads the lines of all sources, in order.
pub(super) fn read_sources(
    sources: &[Source],
    role: Role,
    environment: &dyn Environment,
    report: &mut Report,
) -> Vec<TypedLine> {
    let mut reader =
        Reader { role, environment, report, lines: Vec::new(), files: 0, bytes: 0, full: false };
    for source in sources {
        match source {
            Source::Path(path) => reader.path(path),
            Source::Options(lines) => {
                for line in lines {
                    let place = Place::command_line();
                    let typed = read_line(place, line.as_bytes(), false, role, reader.report);
                    if let Some(typed) = typed {
                        reader.line(typed, 0);
                    }
                }
            }
            Source::Kites(_) | Source::WriteTo(_) => {}
        }
    }
    reader.lines
}

/// Makes a path absolute: `~/` is the user's home, and anything else is
/// relative to the folder of the file that names it.
pub(super) fn resolve_path(place: &Place, text: &str, environment: &dyn Environment) -> PathBuf {
    if let Some(rest) = text.strip_prefix("~/") {
        if let Some(home) = environment.variable("HOME") {
            return Path::new(&home).join(rest);
        }
    }
    match place.file().and_then(Path::parent) {
        Some(folder) => folder.join(text),
        None => PathBuf::from(text),
    }
}

struct Reader<'a> {
    role: Role,
    environment: &'a dyn Environment,
    report: &'a mut Report,
    lines: Vec<TypedLine>,
    files: usize,
    bytes: usize,
    /// A bound is reached and said, so nothing more is read.
    full: bool,
}

impl Reader<'_> {
    fn path(&mut self, path: &Path) {
        let place = Place::path(path);
        match self.environment.is_folder(path) {
            Ok(true) => self.folder(path, &place, "", 0),
            Ok(false) => self.file(path, &place, "", 0),
            Err(error) => self.cannot_read(path, &place, "", &error),
        }
    }

    fn folder(&mut self, folder: &Path, place: &Place, option: &str, depth: usize) {
        let mut names = match self.environment.rc_files(folder, MAX_FILES) {
            Ok(names) => names,
            Err(error) => return self.cannot_read(folder, place, option, &error),
        };
        if names.len() > MAX_FILES {
            return self.fill(place, option, &format!("more than {MAX_FILES} files"));
        }
        if names.is_empty() {
            let text = format!(
                "{}holds no file whose name ends in .rc; write one, such as {}",
                subject(folder, place),
                folder.join(self.role.first_file()).display()
            );
            self.report.warning(place, option, text);
        }
        names.sort();
        for name in names {
            let path = folder.join(name);
            // A mistake in opening belongs to the file, unless a line named it.
            let place = if depth == 0 { Place::path(&path) } else { place.clone() };
            self.file(&path, &place, option, depth);
        }
    }

    fn file(&mut self, path: &Path, place: &Place, option: &str, depth: usize) {
        if self.full {
            return;
        }
        if depth > MAX_NESTING {
            let what = format!("files inside files, deeper than {MAX_NESTING}");
            return self.fill(place, option, &format!("{what} (does a file include itself?)"));
        }
        self.files += 1;
        if self.files > MAX_FILES {
            return self.fill(place, option, &format!("more than {MAX_FILES} files"));
        }
        let read = match self.environment.read(path, MAX_FILE_BYTES) {
            Ok(read) => read,
            Err(error) => return self.cannot_read(path, place, option, &error),
        };
        self.bytes = self.bytes.saturating_add(read.bytes.len());
        if read.bytes.len() > MAX_FILE_BYTES || self.bytes > MAX_TOTAL_BYTES {
            let text = format!(
                "{}is too large; a file has at most {MAX_FILE_BYTES} bytes, all of them together \
                 {MAX_TOTAL_BYTES}",
                subject(path, place)
            );
            self.report.mistake(place, option, text);
            return;
        }
        let file: Rc<Path> = Rc::from(path);
        let room = MAX_LINES - self.lines.len();
        let exposed = read.world_readable;
        let lines = read_file(&file, &read.bytes, exposed, room, self.role, self.report);
        for line in lines {
            self.line(line, depth);
        }
    }

    fn line(&mut self, line: TypedLine, depth: usize) {
        let place = line.place.clone();
        if self.full {
            return;
        }
        if self.lines.len() >= MAX_LINES {
            return self.fill(&place, "", &format!("more than {MAX_LINES} options"));
        }
        let path = resolve_path(&place, &line.value, self.environment);
        match line.row.meaning {
            Meaning::Handled(Action::OptFile) => {
                self.file(&path, &place, line.row.name, depth + 1);
            }
            Meaning::Handled(Action::OptDir) => {
                self.folder(&path, &place, line.row.name, depth + 1);
            }
            _ => self.lines.push(line),
        }
    }

    fn cannot_read(&mut self, path: &Path, place: &Place, option: &str, error: &std::io::Error) {
        let path = subject(path, place);
        let text = match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{path}does not exist; write it or name another")
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("{path}may not be read by this user; run kitelet as the user it belongs to")
            }
            _ => format!("{path}cannot be read ({error}); mend or remove it"),
        };
        self.report.mistake(place, option, text);
    }

    fn fill(&mut self, place: &Place, option: &str, what: &str) {
        self.full = true;
        self.report.mistake(place, option, format!("{what}; remove some"));
    }
}

/// The path and a blank, unless the message begins with the path already.
fn subject(path: &Path, place: &Place) -> String {
    if place.file() == Some(path) && place.line_number().is_none() {
        return String::new();
    }
    format!("{} ", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Fake;

    fn read(environment: &Fake, path: &str) -> (String, String) {
        let mut report = Report::new();
        let lines =
            read_sources(&[Source::Path(path.into())], Role::Agent, environment, &mut report);
        let lines: Vec<_> = lines.iter().map(|line| line.value.as_str()).collect();
        (lines.join(" "), report.mistakes.to_string())
    }

    #[test]
    fn reads_a_folder_in_lexical_order() {
        let environment = Fake::with(&[
            ("/k/20_b.rc", "kitename=b"),
            ("/k/10_a.rc", "kitename=a\nEND\nrubbish"),
            ("/k/.hidden.rc", "rubbish"),
            ("/k/30.rc.sample", "rubbish"),
            ("/k/9.rc", "kitename=c"),
        ]);
        assert_eq!(read(&environment, "/k"), ("a b c".into(), String::new()));
    }

    #[test]
    fn reads_included_files_in_place() {
        let environment = Fake::with(&[
            ("/k/a.rc", "kitename=1\noptfile=more/b.rc\nkitename=4\noptdir=/d"),
            ("/k/more/b.rc", "kitename=2\n-o c.rc\nEND"),
            ("/k/more/c.rc", "kitename=3"),
            ("/d/x.rc", "kitename=5"),
        ]);
        assert_eq!(read(&environment, "/k/a.rc"), ("1 2 3 4 5".into(), String::new()));
    }

    #[test]
    fn a_missing_file_is_told_by_the_line_that_names_it() {
        let environment = Fake::with(&[("/k/a.rc", "\noptfile = b.rc")]);
        let text = "/k/a.rc:2: optfile: /k/b.rc does not exist; write it or name another";
        assert_eq!(read(&environment, "/k/a.rc").1, text);
        let text = "/none: does not exist; write it or name another";
        assert_eq!(read(&environment, "/none").1, text);
    }

    #[test]
    fn inclusion_ends() {
        let environment = Fake::with(&[
            ("/k/a.rc", "optfile = a.rc"),
            ("/d/a.rc", "optdir = /d"),
            ("/d/b.rc", "optdir = /d"),
        ]);
        let (_, mistakes) = read(&environment, "/k/a.rc");
        assert!(mistakes.contains("deeper than 25"), "{mistakes}");
        let (_, mistakes) = read(&environment, "/d");
        assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
    }

    #[test]
    fn files_are_bounded() {
        let mut environment = Fake::with(&[]);
        let large = vec![b'\n'; MAX_FILE_BYTES + 1];
        environment.files.insert("/k/a.rc".into(), large);
        assert!(read(&environment, "/k/a.rc").1.contains("too large"));
        let many = "new\n".repeat(MAX_LINES + 1);
        environment.files.insert("/k/b.rc".into(), many.into_bytes());
        assert!(read(&environment, "/k/b.rc").1.contains("16384 options"));
        for number in 0..=MAX_FILES {
            let name = format!("/m/{number}.rc");
            environment.files.insert(name, b"new".to_vec());
        }
        assert!(read(&environment, "/m").1.contains("256 files"));
    }
}
