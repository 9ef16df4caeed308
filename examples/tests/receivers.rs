//! Each receiver has each effect once, although answers are lost and the server is killed.
//!
//! `scripts/install-receivers` installs what Python and TypeScript need. Where it cannot, their tests are ignored,
//! with the reason.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::Context as _;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::process::Signal;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use standardwebhooks::Webhook;
use testkit::folder::{Folder, parent_in_memory};
use testkit::http;
use testkit::port::Port;
use testkit::process::{Process, last_lines, log_to};
use testkit::proxy::{Cut, Network, Proxy};
use testkit::wait::{PATIENCE, until};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// The key of the sender.
const SENDER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The key that the server signs with, and the receiver verifies with.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let installed = |language: &'static str| {
        Trial::ignorable_test(language, move || match install(language) {
            Ok(command) => test(&command),
            Err(reason) => Ok(Completion::ignored_with(reason)),
        })
    };
    let trials = vec![
        installed("python"),
        installed("typescript"),
        Trial::ignorable_test("rust", || {
            test(&[built("examples/receiver").to_string_lossy().into_owned()])
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Installs what a receiver needs, and returns the command that starts it; or says why that cannot be.
fn install(language: &str) -> Result<Vec<String>, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-receivers");
    let mut install = Command::new(script);
    install.args([language.into(), built("../receivers")]);
    let failed = |reason: &str| format!("scripts/install-receivers {language} failed: {reason}");
    let output = install
        .output()
        .map_err(|error| failed(&error.to_string()))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return Err(failed(log.lines().last().unwrap_or("it does not say why")));
    }
    let command = String::from_utf8_lossy(&output.stdout);
    Ok(command.lines().map(str::to_owned).collect())
}

/// A path in the folder that cargo builds into, such as `target/debug`, derived from that of this test.
fn built(path: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the test knows its path");
    let folder = this
        .ancestors()
        .nth(2)
        .expect("it is target/debug/deps/receivers-…");
    folder.join(path)
}

fn test(receiver: &[String]) -> Result<Completion, Failed> {
    let setup = Setup::new()?;
    let done = Runtime::new()?.block_on(has_each_effect_once(&setup, receiver));
    done.with_context(|| last_lines(&setup.log(), 30))?;
    Ok(Completion::Completed)
}

async fn has_each_effect_once(setup: &Setup, command: &[String]) -> anyhow::Result<()> {
    let _receiver = setup.start_receiver(command).await?;
    let unsigned = [("content-type", "application/json")];
    let receiver = setup.receiver.addr().to_string();
    let answer = http::request(&receiver, "POST", "/hooks", &unsigned, "{}").await?;
    assert_eq!(answer.status, 401);
    let proxy = Proxy::start("127.0.0.1", setup.receiver.number(), Network::Up);
    let server = setup.start_server(&proxy).await?;

    // The app has done its work, and its answer is lost.
    proxy.cut_next(Cut::BeforeAnswer);
    for order in ["o-1", "o-2"] {
        setup.deliver(order).await?;
        setup.until_processed(order).await;
    }
    assert!(setup.attempts("o-1").await? > 1);
    assert_eq!(setup.payments().await?, ["o-1", "o-2"]);

    // The app has done its work, and the server is killed before it has the answer.
    proxy.set(Network::NoAnswers);
    setup.deliver("o-3").await?;
    until("the effect is there", async || {
        let payments = setup.payments().await;
        payments.is_ok_and(|payments| payments.last().is_some_and(|it| it == "o-3"))
    })
    .await;
    let mut server = server;
    server.end(Signal::KILL, PATIENCE).await?;
    proxy.set(Network::Up);
    proxy.end_connections();
    let _server = setup.start_server(&proxy).await?;
    setup.until_processed("o-3").await;
    assert!(setup.attempts("o-3").await? > 1);

    assert_eq!(setup.payments().await?, ["o-1", "o-2", "o-3"]);
    Ok(())
}

/// A receiver, a server that forwards to it, and their files.
struct Setup {
    folder: Folder,
    receiver: Port,
    server: Port,
}

impl Setup {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: Folder::create(&parent_in_memory(), "receivers", None)?,
            receiver: Port::reserve()?,
            server: Port::reserve()?,
        })
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts a program, and waits until it listens on `port`.
    async fn start(
        &self,
        program: &str,
        arguments: &[String],
        variables: &[(&str, &str)],
        port: &Port,
    ) -> anyhow::Result<Process> {
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).envs(variables.iter().copied());
        command.current_dir(self.folder.path());
        log_to(&mut command, &self.log())?;
        let process = Process::spawn(program, &mut command)?;
        until("the program listens", async || {
            TcpStream::connect(port.addr()).await.is_ok()
        })
        .await;
        Ok(process)
    }

    async fn start_receiver(&self, command: &[String]) -> anyhow::Result<Process> {
        let port = self.receiver.number().to_string();
        let database = self.file("receiver.db");
        let variables = [
            ("PORT", port.as_str()),
            ("DATABASE", &database),
            ("WEBHOOK_SECRET", KEY),
        ];
        self.start(&command[0], &command[1..], &variables, &self.receiver)
            .await
    }

    async fn start_server(&self, proxy: &Proxy) -> anyhow::Result<Process> {
        let config = self.file("webhook.toml");
        let url = format!("http://{}/hooks", proxy.addr());
        let toml = format!(
            "[sources.shop]\npreset = \"standard-webhooks\"\nsecrets = \"env:SHOP_SECRET\"\n\
             [sources.shop.forward]\nurl = \"{url}\"\n\
             schedule = {{ first = \"100ms\", factor = 1, attempts = 100 }}\n"
        );
        std::fs::write(&config, toml)?;
        let address = self.server.addr().to_string();
        let database = format!("sqlite:{}", self.file("webhook.db"));
        let variables = [
            ("BIND_ADDR", address.as_str()),
            ("DATABASE_URL", &database),
            ("CONFIG_FILE", &config),
            ("SHOP_SECRET", SENDER),
            ("FORWARD_SECRETS", KEY),
            ("PROCESSING_STALE_TIMEOUT_SECONDS", "1"),
        ];
        let program = built("webhook-server");
        anyhow::ensure!(
            program.exists(),
            "{} is missing, which `cargo build -p webhook-server` builds",
            program.display()
        );
        self.start(&program.to_string_lossy(), &[], &variables, &self.server)
            .await
    }

    /// Delivers an event as its sender does.
    async fn deliver(&self, order: &str) -> anyhow::Result<()> {
        let body = format!(r#"{{"type":"payment.succeeded","order":"{order}","cents":995}}"#);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_secs();
        let signature = Webhook::new(SENDER)?.sign(order, i64::try_from(now)?, body.as_bytes())?;
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", order),
            ("webhook-timestamp", &now.to_string()),
            ("webhook-signature", &signature),
        ];
        let server = self.server.addr().to_string();
        let answer = http::request(&server, "POST", "/v1/webhooks/shop", &headers, &body).await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    }

    async fn event(&self, order: &str) -> anyhow::Result<Value> {
        let server = self.server.addr().to_string();
        let path = format!("/v1/events/shop/{order}");
        let answer = http::request(&server, "GET", &path, &[], "").await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    async fn attempts(&self, order: &str) -> anyhow::Result<u64> {
        let attempts = self.event(order).await?["attempts"].as_u64();
        attempts.context("the event has no attempts")
    }

    async fn until_processed(&self, order: &str) {
        until("the event is processed", async || {
            self.event(order)
                .await
                .is_ok_and(|event| event["status"] == "PROCESSED")
        })
        .await;
    }

    /// The orders of the payments that the receiver has stored.
    async fn payments(&self) -> anyhow::Result<Vec<String>> {
        let options = SqliteConnectOptions::new().filename(self.file("receiver.db"));
        let database = SqlitePool::connect_with(options).await?;
        let rows = sqlx::query("SELECT order_id FROM payments ORDER BY order_id");
        let rows = rows.fetch_all(&database).await?;
        database.close().await;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", last_lines(&self.log(), 30));
        }
    }
}
