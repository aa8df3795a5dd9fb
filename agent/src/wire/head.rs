//! Puts the head of a handshake together from whatever pieces it comes in, up
//! to the blank line and a bound.

use super::error::WireError;

/// Collects bytes up to and including a blank line.
#[derive(Debug)]
pub struct HeadReader {
    head: Vec<u8>,
    max_bytes: usize,
}

impl HeadReader {
    /// `max_bytes` bounds the head, its blank line included.
    pub fn new(max_bytes: usize) -> Self {
        Self { head: Vec::new(), max_bytes }
    }

    /// Takes the head's part of `input`, which is shortened by it; what lies
    /// behind the blank line is left. Returns the head once it is complete.
    ///
    /// # Errors
    /// [`WireError::HandshakeTooLong`] when no blank line comes within the
    /// bound.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<&[u8]>, WireError> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.head.push(byte);
            if byte == b'\n' && self.head.ends_with(b"\r\n\r\n") {
                return Ok(Some(&self.head));
            }
            if self.head.len() >= self.max_bytes {
                return Err(WireError::HandshakeTooLong);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_what_is_glued_to_the_head() {
        let whole = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n1b\r\n";
        for cut in 0..whole.len() {
            let mut reader = HeadReader::new(100);
            let (mut first, mut second) = whole.split_at(cut);
            let early = reader.read(&mut first).expect("short").is_some();
            if !early {
                assert!(reader.read(&mut second).expect("short").is_some());
            }
            let rest = [first, second].concat();
            assert_eq!(rest, b"1b\r\n");
        }
    }

    #[test]
    fn an_endless_head_is_refused() {
        let mut reader = HeadReader::new(64);
        let endless = [b'a'; 100];
        assert_eq!(reader.read(&mut &endless[..]), Err(WireError::HandshakeTooLong));
    }
}
