//! A name server on loopback that answers as the test wants, by UDP and TCP on
//! the same port. Its messages are put together by hand, so that nothing here
//! shares a mistake with the code under test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type ByTcp = Box<dyn Fn(&[u8]) -> Vec<u8> + Send>;

/// Ends when it is dropped.
pub(crate) struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    questions: Mutex<Vec<(SocketAddr, Vec<u8>)>>,
    by_tcp: Mutex<Option<ByTcp>>,
    is_over: AtomicBool,
}

impl NameServer {
    /// Sends what `reply` makes of each question.
    pub(crate) fn start(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start_with(reply, false)
    }

    /// The same from another port than the question went to.
    pub(crate) fn start_elsewhere(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start_with(reply, true)
    }

    fn start_with(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static, elsewhere: bool) -> Self {
        // Both have to get the same port.
        let (listener, socket) = (0..100)
            .find_map(|_| {
                let listener = TcpListener::bind("127.0.0.1:0").ok()?;
                let socket = UdpSocket::bind(listener.local_addr().ok()?).ok()?;
                Some((listener, socket))
            })
            .expect("a port");
        let address = socket.local_addr().expect("address");
        let sender = if elsewhere {
            UdpSocket::bind("127.0.0.1:0").expect("bind")
        } else {
            socket.try_clone().expect("clone")
        };
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let udp = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
                if ours.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let question = buffer[..length].to_vec();
                let replies = reply(&question);
                lock(&ours.questions).push((asker, question));
                for reply in replies {
                    let _ = sender.send_to(&reply, asker);
                }
            }
        });
        let ours = Arc::clone(&shared);
        let tcp = thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if ours.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("length");
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).expect("question");
                let reply = lock(&ours.by_tcp).as_ref().map(|reply| reply(&question));
                let reply = reply.unwrap_or_default();
                if !reply.is_empty() {
                    let length = u16::try_from(reply.len()).expect("short enough");
                    let _ = stream.write_all(&length.to_be_bytes());
                    let _ = stream.write_all(&reply);
                }
            }
        });
        Self { address, shared, threads: vec![udp, tcp] }
    }

    /// What to answer by TCP from now on; nothing is the end of the connection.
    pub(crate) fn by_tcp(&self, reply: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
        *lock(&self.shared.by_tcp) = Some(Box::new(reply));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The questions by UDP up to now.
    pub(crate) fn questions(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.questions).iter().map(|(_, question)| question.clone()).collect()
    }

    /// Waits until so many questions have come.
    pub(crate) fn wait_for_questions(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.questions().len() < count {
            assert!(Instant::now() < deadline, "{} questions", self.questions().len());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The ports from which they came.
    pub(crate) fn ports(&self) -> Vec<u16> {
        lock(&self.shared.questions).iter().map(|(asker, _)| asker.port()).collect()
    }

    /// Where nobody listens.
    pub(crate) fn free_address() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.local_addr().expect("address")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes both threads.
        if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
            let _ = socket.send_to(b"", self.address);
        }
        let _ = std::net::TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The answer to a question, with these records.
pub(crate) fn answer(question: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = question.to_vec();
    // A response, and recursion is to be had.
    message[2] |= 0x80;
    message[3] |= 0x80;
    let count = u16::try_from(records.len()).expect("few enough");
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message.extend(records.concat());
    message
}

/// An address of the name in question.
pub(crate) fn a_record(address: [u8; 4]) -> Vec<u8> {
    [b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04".as_slice(), &address].concat()
}

/// Says that the name in question is another name for `target` (as on the
/// wire), and which address that has.
pub(crate) fn cname_record(target: &[u8], address: [u8; 4]) -> Vec<Vec<u8>> {
    let length = u16::try_from(target.len()).expect("short").to_be_bytes();
    let alias = [b"\xc0\x0c\0\x05\0\x01\0\0\0\0".as_slice(), &length, target].concat();
    let address = [target, b"\0\x01\0\x01\0\0\0\0\0\x04", &address].concat();
    vec![alias, address]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
