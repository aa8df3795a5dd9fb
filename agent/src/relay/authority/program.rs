//! Runs the program that is asked about a kite: `PROGRAM [ARGS] --auth DOMAIN`
//! (`protocol.md` 14).
//!
//! It gets no shell, no input and no environment but `PATH`, and a process
//! group of its own, so that what it starts ends with it. However the question
//! ends, the process is waited for: none stays behind as a zombie, and its
//! place among the questions is free only then.
//!
//! `async-process` would do the waiting as well, on a thread that it panics
//! without; a file descriptor of the process needs none.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use smol::future;
use smol::io::AsyncReadExt;
use smol::lock::SemaphoreGuardArc;

use super::failure::Failure;

/// Longest output that is read, in bytes: the object with the secret takes
/// some 200.
pub const MAX_OUTPUT_BYTES: usize = 16 * 1024;

/// Where programs are looked for when our own environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often a process is looked at on kernels before 5.3, which have no file
/// descriptors of processes.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Stack of the thread that waits for a killed process; it makes one call.
const THREAD_STACK_BYTES: usize = 64 * 1024;

/// What the program writes about `domain` within `limit`. It has to end, and
/// well, by then. `place` is given back when the process is gone.
pub(super) async fn run(
    path: &Path,
    arguments: &[String],
    domain: &str,
    limit: Duration,
    place: SemaphoreGuardArc,
) -> Result<Vec<u8>, Failure> {
    let deadline = Instant::now() + limit;
    let search_path = env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH));
    let mut child = Command::new(path)
        .args(arguments)
        .args(["--auth", domain])
        .env_clear()
        .env("PATH", search_path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::Start(path.to_owned(), error.to_string()))?;
    let output = child.stdout.take();
    let mut process = Process { child: Some(child), place: Some(place) };
    let work = async {
        let output = read(output).await?;
        let status = process.ended().await.map_err(|error| Failure::Read(error.to_string()))?;
        if status.success() { Ok(output) } else { Err(Failure::Status(status)) }
    };
    let expiry = async {
        Timer::at(deadline).await;
        Err(Failure::Slow)
    };
    future::or(work, expiry).await
}

async fn read(output: Option<ChildStdout>) -> Result<Vec<u8>, Failure> {
    let cannot_read = |error: io::Error| Failure::Read(error.to_string());
    let mut bytes = Vec::new();
    if let Some(output) = output {
        let output = Async::new(output).map_err(cannot_read)?;
        // One byte more tells that there is more.
        let mut output = output.take(MAX_OUTPUT_BYTES as u64 + 1);
        output.read_to_end(&mut bytes).await.map_err(cannot_read)?;
    }
    if bytes.len() > MAX_OUTPUT_BYTES { Err(Failure::Endless) } else { Ok(bytes) }
}

/// A process that is killed and waited for when nobody asks any more.
struct Process {
    /// `None` once it is waited for.
    child: Option<Child>,
    /// Its place among the questions.
    place: Option<SemaphoreGuardArc>,
}

impl Process {
    /// Waits until the process has ended.
    async fn ended(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(io::ErrorKind::NotFound.into()) };
        let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::empty());
        if let Ok(descriptor) = descriptor {
            // Readable is what it becomes at the end (pidfd_open(2)).
            Async::new_nonblocking(descriptor)?.readable().await?;
        }
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            Timer::after(LOOK_INTERVAL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Not waited for, so the number still belongs to this group.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Death takes a moment, and for ever where the process hangs in a file
        // system that is gone; our one thread cannot wait for that.
        let dying = Arc::new(Mutex::new((child, self.place.take())));
        let ours = Arc::clone(&dying);
        let wait = move |dying: &Mutex<(Child, Option<SemaphoreGuardArc>)>| {
            let _ = dying.lock().unwrap_or_else(PoisonError::into_inner).0.wait();
        };
        let thread = thread::Builder::new()
            .name("reaper".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || wait(&dying));
        if thread.is_err() {
            wait(&ours);
        }
    }
}
