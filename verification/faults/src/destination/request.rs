//! Reads requests.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest request. The bodies of a run have some hundred bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A request of the forwarder.
#[derive(Debug)]
pub(super) struct Request {
    /// The names in lower case, with their values.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads a request with its body; returns `None` if the connection ends before.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    const END: &[u8] = b"\r\n\r\n";
    let mut read = Vec::new();
    let head_bytes = loop {
        if let Some(at) = read.windows(END.len()).position(|bytes| bytes == END) {
            break at + END.len();
        }
        more(stream, &mut read).await?;
    };
    let head = String::from_utf8_lossy(&read[..head_bytes]).into_owned();
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut request = Request {
        headers,
        body: read.split_off(head_bytes),
    };
    let length: usize = request.header("content-length")?.parse().ok()?;
    while request.body.len() < length {
        more(stream, &mut request.body).await?;
    }
    Some(request)
}

async fn more(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<()> {
    let is_open = read.len() < MAX_BYTES && stream.read_buf(read).await.ok()? > 0;
    is_open.then_some(())
}
