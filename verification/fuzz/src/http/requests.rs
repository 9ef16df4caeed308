//! Parses a connection's bytes as requests, without the server's code.

/// The maximum number of headers that hyper accepts.
const MAX_HEADERS: usize = 100;

const DELIVERIES: &str = "/v1/webhooks/transactions";

/// One request.
pub(super) struct Request {
    method: String,
    target: String,
    media_types: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// Returns all complete requests, with their bodies, that `bytes` begin with.
pub(super) fn of(mut bytes: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let Some((request, rest)) = next(bytes) {
        requests.push(request);
        bytes = rest;
    }
    requests
}

impl Request {
    /// Returns the body if the request is a delivery that should be accepted.
    pub(super) fn delivered(&self) -> Option<&[u8]> {
        let is_json = matches!(self.media_types.as_slice(), [one] if is_json(one));
        let is_delivery = self.method == "POST" && path(&self.target) == DELIVERIES && is_json;
        is_delivery.then_some(self.body.as_slice())
    }
}

fn next(bytes: &[u8]) -> Option<(Request, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = head.parse(bytes) else {
        return None;
    };
    let values = |name: &str| -> Vec<Vec<u8>> {
        let headers = head.headers.iter();
        let headers = headers.filter(|header| header.name.eq_ignore_ascii_case(name));
        headers.map(|header| header.value.to_vec()).collect()
    };
    let rest = &bytes[end..];
    let (body, rest) = match values("transfer-encoding").last() {
        Some(codings) => {
            let last = codings.rsplit(|&byte| byte == b',').next()?.trim_ascii();
            if !last.eq_ignore_ascii_case(b"chunked") {
                return None;
            }
            chunked(rest)?
        }
        None => {
            let length = length(&values("content-length"))?;
            let (body, rest) = rest.split_at_checked(length)?;
            (body.to_vec(), rest)
        }
    };
    let request = Request {
        method: head.method?.to_owned(),
        target: head.path?.to_owned(),
        media_types: values("content-type"),
        body,
    };
    Some((request, rest))
}

/// Returns the content length by RFC 9112, section 6.2: one number, which may be repeated.
fn length(values: &[Vec<u8>]) -> Option<usize> {
    let Some(first) = values.first() else {
        return Some(0);
    };
    let length = number(first)?;
    let is_same = |value: &Vec<u8>| number(value) == Some(length);
    values.iter().all(is_same).then_some(length)
}

fn number(value: &[u8]) -> Option<usize> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    is_number.then(|| str::from_utf8(value).ok()?.parse().ok())?
}

/// Decodes a chunked body (RFC 9112, section 7.1).
fn chunked(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (size, rest) = line(bytes)?;
        let size = size.split(|&byte| byte == b';').next()?.trim_ascii();
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = usize::from_str_radix(str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            return Some((body, behind_trailers(rest)?));
        }
        let (data, rest) = rest.split_at_checked(size)?;
        body.extend_from_slice(data);
        bytes = rest.strip_prefix(b"\r\n")?;
    }
}

fn behind_trailers(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (trailer, rest) = line(bytes)?;
        if trailer.is_empty() {
            return Some(rest);
        }
        bytes = rest;
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// Returns the path of a target in origin or absolute form (RFC 9112, section 3.2).
fn path(target: &str) -> &str {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|it| it.is_ascii_alphanumeric()) => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    origin.split(['?', '#']).next().unwrap_or_default()
}

/// Returns whether the type is `application/json` or ends with `+json`, with any parameters.
fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type.split(|&byte| byte == b';').next();
    let essence = essence
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    essence == b"application/json"
        || essence.starts_with(b"application/") && essence.ends_with(b"+json")
}
