//! The dashboard in Chromium: every screen and action, by the scenarios in `verification/browser`.
//!
//! They are programs for Node.js with playwright-core, which is installed in seconds and adds nothing to what is
//! compiled. Where Chromium or the packages cannot be installed, the tests are ignored, with the reason.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};
use rustix::process::Signal;
use testkit::folder::{Folder, parent_in_memory};
use testkit::port::Port;
use testkit::tools::{find_or_install, script};
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::support::files::Files;
use crate::support::process::{Starter, webhook_server};
use crate::support::{secrets, signed};

/// The secret of the senders.
const SECRET: &str = "not-known-to-anybody-else";

/// The key that forwarded requests are signed with.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Longer than a scenario takes on the slowest machine.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(300);

/// A scenario, and whether its users have to sign in.
const SCENARIOS: [(&str, Access); 10] = [
    ("screens", Access::Open),
    ("empty", Access::Open),
    ("actions", Access::Open),
    ("hostile", Access::Open),
    ("keyboard", Access::Open),
    ("without_scripts", Access::Open),
    ("sign_in", Access::Tokens),
    ("live", Access::Open),
    ("banners", Access::Open),
    ("story", Access::Open),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Tokens,
}

pub(super) fn trials() -> Vec<Trial> {
    let trial = |(name, access)| {
        Trial::ignorable_test(format!("dashboard::{name}"), move || {
            Runtime::new()?.block_on(run(name, access))
        })
    };
    SCENARIOS.into_iter().map(trial).collect()
}

#[expect(
    clippy::print_stdout,
    reason = "the figures of a scenario are shown with its result"
)]
async fn run(name: &str, access: Access) -> Result<Completion, Failed> {
    static TOOLS: OnceCell<Result<Tools, String>> = OnceCell::const_new();
    let tools = match TOOLS.get_or_init(install).await {
        Ok(tools) => tools,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    let setup = Setup::new()?;
    let mut scenario = tools.scenario(name);
    let mut server = setup.server();
    if access == Access::Tokens {
        let (token, digest) = signed::token("operate").await;
        let (reader, reader_digest) = signed::token("read").await;
        scenario.env("API_TOKEN", token).env("READ_TOKEN", reader);
        server = server.env("API_TOKENS", &format!("{digest},{reader_digest}"));
    }
    let mut process = server.start();
    let addr = process.listens().await;
    scenario
        .env("SERVER_URL", format!("http://{addr}"))
        .env("SERVER_PID", process.pid().as_raw_nonzero().to_string())
        .env("RECEIVER_PORT", setup.receiver.number().to_string())
        .env("SENDER_SECRET", SECRET);
    let output = tokio::time::timeout(SCENARIO_TIMEOUT, scenario.output()).await??;
    let (out, log) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(out));
    if !output.status.success() {
        return Err(format!("node scenario.mjs {name}:\n{log}").into());
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    Ok(Completion::Completed)
}

/// What runs the scenarios.
struct Tools {
    chromium: PathBuf,
    node: String,
    /// Where the packages of the scenarios are.
    packages: PathBuf,
    screenshots: PathBuf,
}

/// Installs what is missing, or says why that cannot be.
async fn install() -> Result<Tools, String> {
    let chromium = find_or_install("chromium").await;
    let chromium = chromium.map_err(|error| last_line(&error.to_string()))?;
    let target = target();
    let packages = target.join("browser");
    let output = Command::new(script("install-node-packages"))
        .args([&folder(), &packages])
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = last_line(&log);
        return Err(format!("scripts/install-node-packages failed: {reason}"));
    }
    let node = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Tools {
        chromium,
        node,
        packages,
        screenshots: target.join("screenshots"),
    })
}

fn last_line(text: &str) -> String {
    let line = text.trim().lines().last();
    line.unwrap_or("it does not say why").to_owned()
}

/// The folder of the scenarios.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../verification/browser")
}

/// The folder that cargo builds into, of which this test has `tmp`.
fn target() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).to_owned()
}

impl Tools {
    fn scenario(&self, name: &str) -> Command {
        let mut command = Command::new(&self.node);
        command
            .arg(folder().join("scenario.mjs"))
            .arg(name)
            .env("CHROMIUM", &self.chromium)
            .env("NODE_PACKAGES", &self.packages)
            .env("SCREENSHOTS", &self.screenshots)
            .kill_on_drop(true);
        command
    }
}

/// The files of a server, and the port of the app behind it.
struct Setup {
    files: Files,
    /// Where the events are. In memory, since the dashboard is tested here, and not the disk.
    database: Folder,
    receiver: Port,
}

impl Setup {
    fn new() -> Result<Self, Failed> {
        let setup = Self {
            files: Files::new(),
            database: Folder::create(&parent_in_memory(), "dashboard", None)?,
            receiver: Port::reserve()?,
        };
        secrets::keep(SECRET);
        setup.files.write("secret", SECRET);
        let port = setup.receiver.number().to_string();
        let toml = std::fs::read_to_string(folder().join("webhook.toml"))?;
        setup
            .files
            .write("webhook.toml", toml.replace("{receiver}", &port));
        Ok(setup)
    }

    fn server(&self) -> Starter {
        let file = format!("--config-file={}", self.files.path("webhook.toml"));
        webhook_server(&[&file, "--log-level=info"])
            .on_file(&self.database.path().join("events.db").to_string_lossy())
            .env("FORWARD_SECRETS", KEY)
    }
}
