//! A PostgreSQL server of one test's own, for settings that would disturb other tests.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server that `scripts/with-postgres` started. It is stopped and removed on drop.
pub(crate) struct OwnServer {
    script: Child,
    url: String,
}

impl OwnServer {
    /// Starts one with these options of `scripts/with-postgres`, such as `--set`, `ssl=off`.
    pub(crate) fn start(options: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/with-postgres");
        let mut script = Command::new(script)
            // Else the script would use the server that all tests share.
            .env_remove("TEST_DATABASE_URL")
            .env_remove("TEST_POOLER_URL")
            .arg("--volatile")
            .args(options)
            // `cat` ends when this process closes its standard input, whatever ends this process.
            .args(["sh", "-c", "echo \"$TEST_DATABASE_URL\" && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/with-postgres runs");
        let stdout = script.stdout.take().expect("it is piped");
        let mut url = String::new();
        let read = BufReader::new(stdout).read_line(&mut url);
        let read = read.expect("the script prints the server's URL");
        assert_ne!(read, 0, "scripts/with-postgres started no server");
        Self {
            script,
            url: url.trim().to_owned(),
        }
    }

    /// The URL of its database `postgres`: a superuser with a password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
