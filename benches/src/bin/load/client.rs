//! A connection that sends one request after the other and reads only what it needs of each answer.

use std::io;
use std::net::SocketAddr;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest answer taken; the longest expected is a problem document of a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// An answer, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The `status` member of the body, if the status code is 202.
    pub(crate) said: Said,
}

/// The `status` of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// `ACCEPTED`
    Accepted,
    /// `DUPLICATE`
    Duplicate,
    /// Anything else.
    Other,
}

/// One connection, kept alive.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; MAX_ANSWER_BYTES].into_boxed_slice(),
        })
    }

    /// Sends `request` and waits for its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let room = &mut self.buffer[filled..];
            if room.is_empty() {
                return Err(io::Error::other("answer is too long"));
            }
            match self.stream.read(room).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
            match parse(&self.buffer[..filled])? {
                Some((answer, bytes)) if bytes == filled => return Ok(answer),
                Some((_, bytes)) if bytes < filled => {
                    return Err(io::Error::other("more than one answer to one request"));
                }
                _ => {}
            }
        }
    }
}

/// The answer at the start of `bytes` and its length, once its head is there.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(head_bytes) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = bytes.split_at(head_bytes + 4);
    let malformed = || io::Error::other("malformed answer");
    let status = head
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| number(rest.get(..3)?))
        .ok_or_else(malformed)?;
    let length = content_length(head).ok_or_else(malformed)?;
    let answer = Answer {
        status: u16::try_from(status).map_err(|_| malformed())?,
        said: said(body),
    };
    Ok(Some((answer, head.len() + length)))
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ncontent-length:";
    let at = memchr::memchr_iter(b'\r', head).find(|&at| {
        head[at..]
            .get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })?;
    let value = &head[at + NAME.len()..];
    number(value[..memchr::memchr(b'\r', value)?].trim_ascii())
}

fn number(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0_usize, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(usize::from(digit))
    })
}

fn said(body: &[u8]) -> Said {
    const MEMBER: &[u8] = br#""status":""#;
    let value = memmem::find(body, MEMBER).map(|at| &body[at + MEMBER.len()..]);
    match value {
        Some([b'A', ..]) => Said::Accepted,
        Some([b'D', ..]) => Said::Duplicate,
        _ => Said::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_when_they_are_whole() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 21\r\ndate: x\r\n\r\n{\"status\":\"ACCEPTED\"}";
        for end in 0..answer.len() {
            let whole = matches!(parse(&answer[..end]).unwrap(), Some((_, bytes)) if bytes == end);
            assert!(!whole, "{end}");
        }
        let accepted = Answer {
            status: 202,
            said: Said::Accepted,
        };
        assert_eq!(parse(answer).unwrap(), Some((accepted, answer.len())));
    }

    #[test]
    fn malformed_answer_is_an_error() {
        assert!(parse(b"HTTP/1.1 20\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 202 Accepted\r\n\r\n").is_err());
        assert!(parse(b"SMTP\r\n\r\n").is_err());
    }
}
