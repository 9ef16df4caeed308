//! A real Prometheus scrapes the server and evaluates the alerts, and its promtool tests them.
//!
//! `scripts/find-or-install` installs it. Where it cannot, the tests are ignored.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::client::{Client, post};
use crate::support::files::Files;
use crate::support::process::webhook_server;
use crate::support::transaction;

/// How long Prometheus may take to start, to scrape and to evaluate.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("alerts_are_valid_and_fire_when_they_should", |prometheus| {
            let promtool = prometheus.with_file_name("promtool");
            run(&promtool, &["check", "rules", "rules.yaml"]);
            run(
                &promtool,
                &["check", "config", "--syntax-only", "prometheus.yml"],
            );
            let tests = ["test", "rules", "rules.test.yaml", "rules.week.test.yaml"];
            run(&promtool, &tests);
        }),
        trial(
            "prometheus_scrapes_the_server_and_evaluates_the_alerts",
            |prometheus| {
                Runtime::new().unwrap().block_on(scrape(prometheus));
            },
        ),
    ]
}

/// A test that is ignored where Prometheus cannot be installed.
fn trial(name: &str, test: fn(&Path)) -> Trial {
    Trial::ignorable_test(name, move || {
        let install = root().join("scripts/find-or-install");
        let found = Command::new(install).arg("prometheus").output();
        let found = found.map_err(|error| error.to_string()).and_then(|output| {
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            output.status.success().then_some(path).ok_or(log)
        });
        match found {
            Ok(path) => {
                test(Path::new(&path));
                Ok(Completion::Completed)
            }
            Err(reason) => {
                let last = reason.lines().last().unwrap_or_default();
                Ok(Completion::ignored_with(format!(
                    "there is no Prometheus: {last}"
                )))
            }
        }
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn deployed() -> PathBuf {
    root().join("deploy/prometheus")
}

/// Runs a program on the files of Prometheus, which must succeed.
fn run(program: &Path, args: &[&str]) {
    let output = Command::new(program)
        .args(args)
        .current_dir(deployed())
        .output()
        .unwrap();
    let (out, log) = (output.stdout, output.stderr);
    let (out, log) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&log));
    assert!(output.status.success(), "{args:?}:\n{out}\n{log}");
}

/// A Prometheus, which is killed when it is dropped.
struct Prometheus {
    process: Child,
    addr: SocketAddr,
    _files: Files,
}

impl Prometheus {
    fn start(program: &Path, target: SocketAddr) -> Self {
        let files = Files::new();
        let rules = deployed().join("rules.yaml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: server, static_configs: [{{targets: ['{target}']}}]}}]\n",
            rules.display()
        );
        let file = files.write("prometheus.yml", config);
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let process = Command::new(program)
            .arg(format!("--config.file={file}"))
            .arg(format!("--storage.tsdb.path={}", files.path("data")))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            addr,
            _files: files,
        }
    }

    /// The data of an answer of its API, once there is one.
    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.addr).ok()?;
        // Without chunks, and to the end of the connection.
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let body: Value = serde_json::from_str(body).ok()?;
        (body["status"] == "success").then(|| body["data"].clone())
    }

    /// Waits until an answer of its API is as it should be.
    fn until(&self, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let data = self.get(path);
            if let Some(data) = data.as_ref().filter(|data| is_right(data)) {
                return data.clone();
            }
            assert!(began.elapsed() < LIMIT, "{path}: {data:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn scrape(program: &Path) {
    let mut server = webhook_server(&["--processing-delay-seconds=0"]).start();
    let addr = server.listens().await;
    let mut client = Client::connect(addr).await;
    client
        .ask(post(transaction("txn-1")))
        .await
        .acknowledged("ACCEPTED");
    let prometheus = Prometheus::start(program, addr);
    let query = "query?query=webhook_settled_total%7Bstate%3D%22processed%22%7D";
    prometheus.until(query, |data| data["result"][0]["value"][1] == "1");
    let rules = |data: &Value| {
        data["groups"][0]["rules"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let is_evaluated = |rule: &Value| rule["health"] != "unknown";
    let data = prometheus.until("rules", |data| {
        let rules = rules(data);
        !rules.is_empty() && rules.iter().all(is_evaluated)
    });
    for rule in rules(&data) {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert_eq!(rule["state"], "inactive", "{rule:#}");
    }
}
