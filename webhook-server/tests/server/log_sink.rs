//! A standard error that is closed, stalled or full does not stop the work.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::support::client::Client;
use crate::support::process::webhook_server;
use crate::support::{in_time, transaction, until};

/// Every format and some levels.
const LOGS: [[&str; 2]; 3] = [
    ["--log-format=json", "--log-level=info"],
    ["--log-format=human", "--log-level=info"],
    ["--log-format=json", "--log-level=trace"],
];

/// A server whose log the test reads, or not.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Starts one that logs into a pipe, and waits until it listens.
    async fn start(log: [&str; 2]) -> (Self, BufReader<PipeReader>) {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = command(log);
        let child = command.stderr(Stdio::from(writer)).spawn().unwrap();
        // The command holds a writer of its own, without which the pipe can end.
        drop(command);
        let listening = tokio::task::spawn_blocking(move || {
            let mut reader = BufReader::new(reader);
            loop {
                let mut line = String::new();
                assert!(reader.read_line(&mut line).unwrap() > 0, "it ended");
                if let Some(addr) = addr_in(&line) {
                    return (reader, addr);
                }
            }
        });
        let (reader, addr) = in_time("listening", listening).await.unwrap();
        (Self { child, addr }, reader)
    }

    /// Delivers transactions and waits until all are processed.
    async fn processes(&self, ids: std::ops::Range<u32>) {
        let mut client = Client::connect(self.addr).await;
        for id in ids.clone() {
            let reply = client.post(transaction(&format!("tx-{id}"))).await;
            reply.acknowledged("ACCEPTED");
        }
        for id in ids {
            until("it is processed", async || {
                let reply = client.get(&format!("/v1/transactions/tx-{id}")).await;
                reply.json()["status"] == "PROCESSED"
            })
            .await;
        }
        assert_eq!(client.get("/").await.status, 200);
    }

    async fn stops(mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        in_time("the process's end", self.child.wait())
            .await
            .unwrap()
    }
}

fn command(log: [&str; 2]) -> Command {
    let args = [log[0], log[1], "--processing-delay-seconds=0"];
    webhook_server(&args)
        .env("BIND_ADDR", "127.0.0.1:0")
        .into_command()
}

/// The address in the line "listening", in either format.
fn addr_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line
        .split_once(r#""listening","addr":""#)
        .or_else(|| line.split_once("listening addr="))?;
    let end = rest.find(['"', ' '])?;
    rest[..end].parse().ok()
}

#[tokio::test]
async fn a_closed_log_does_not_stop_the_work() {
    for log in LOGS {
        let (server, reader) = Server::start(log).await;
        drop(reader);
        server.processes(0..50).await;
        assert_eq!(server.stops().await.code(), Some(0), "{log:?}");
    }
}

#[tokio::test]
async fn stalled_log_does_not_stop_the_work_and_reports_dropped_lines() {
    for log in LOGS {
        let (server, mut reader) = Server::start(log).await;
        // More than a pipe and the queue hold: 64 KiB and 4 MiB.
        let long = format!("/{}", "x".repeat(7_500));
        let mut client = Client::connect(server.addr).await;
        let lines = if log[1].ends_with("trace") { 800 } else { 0 };
        for _ in 0..lines {
            assert_eq!(client.get(&long).await.status, 404);
        }
        server.processes(0..400).await;
        let pid = server.child.id();
        let reading = std::thread::spawn(move || {
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            rest
        });
        // The reader is back.
        server.processes(400..401).await;
        assert_eq!(server.stops().await.code(), Some(0), "{log:?} {pid:?}");
        let rest = reading.join().unwrap();
        let lost = "log lines were dropped: standard error did not take them";
        assert_eq!(rest.contains(lost), lines > 0, "{log:?}");
        assert!(rest.lines().last().unwrap().contains("stopped"), "{log:?}");
    }
}

#[tokio::test]
async fn stalled_log_does_not_delay_the_exit() {
    let (server, reader) = Server::start(["--log-format=json", "--log-level=trace"]).await;
    server.processes(0..400).await;
    assert_eq!(server.stops().await.code(), Some(0));
    drop(reader);
}

#[tokio::test]
async fn a_full_disk_under_the_log_does_not_stop_the_work() {
    for log in LOGS {
        // Known only from its log, which cannot be read here: so the test chooses the port.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        drop(socket);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = command(log);
        let child = command
            .env("BIND_ADDR", addr.to_string())
            .stderr(Stdio::from(full))
            .spawn()
            .unwrap();
        until("it listens", async || {
            Client::try_connect(addr).await.is_ok()
        })
        .await;
        let server = Server { child, addr };
        server.processes(0..50).await;
        assert_eq!(server.stops().await.code(), Some(0), "{log:?}");
    }
}

#[tokio::test]
async fn exit_codes_do_not_depend_on_a_reader() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let full = || {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        Stdio::from(full)
    };
    for (args, code) in [
        (&["--no-such-flag"][..], 2),
        (&["--bind-addr=nowhere"], 2),
        (&["status"], 2),
        (&["healthcheck", "--bind-addr=127.0.0.1:1"], 1),
        (&["migrate", "--database-url=mysql://u:p@h/d"], 1),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["token", "read"], 1),
    ] {
        for kind in [&closed as &dyn Fn() -> Stdio, &full] {
            let mut command = webhook_server(args).into_command();
            let mut child = command.stdout(kind()).stderr(kind()).spawn().unwrap();
            let status = in_time("the end", child.wait()).await.unwrap();
            assert_eq!(status.code(), Some(code), "{args:?}");
        }
    }
}
