//! Inputs that are made of lines.

/// Names and values.
pub(crate) type Headers = Vec<(String, Vec<u8>)>;

/// Text that is not read yet.
pub(crate) struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// The next line, without its end.
    pub(crate) fn next_line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == b'\n');
        let (line, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    /// Header lines up to an empty one, with names in lower case.
    pub(crate) fn headers(&mut self) -> Headers {
        let mut headers = Headers::new();
        loop {
            let line = self.next_line();
            if line.is_empty() {
                return headers;
            }
            let end = line.iter().position(|&byte| byte == b':');
            let (name, value) = line.split_at(end.unwrap_or(line.len()));
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            headers.push((
                name,
                value.get(1..).unwrap_or_default().trim_ascii().to_vec(),
            ));
        }
    }

    /// What is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}
