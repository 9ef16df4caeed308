//! The arguments of the command, and the sizes that follow from them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::backend::Backend;
use crate::server::Variant;

/// Shows how fast the inbox is on this machine, next to the limits of the machine, in one run.
///
/// Starts a throw-away PostgreSQL (default durability: fsync and synchronous_commit on; with
/// 1 GB of shared buffers) or makes an SQLite file, builds and starts webhook-server as a process of
/// its own, and sends it HTTP requests. Checks that every answer was 202, that every accepted event is in the database,
/// and that all of them are processed in the end; fails where one is not. Prints tables, the
/// targets met and missed, and writes a report with latency and throughput over time.
///
/// Latency under a constant rate counts from the moment a request was due to be sent, so that a
/// server that stalls cannot hide behind a generator that waits for it.
#[derive(Debug, Parser)]
#[command(name = "load", args_conflicts_with_subcommands = true)]
pub(crate) struct Command {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The scenarios to run [default: all of them]
    #[arg(value_enum)]
    pub(crate) scenarios: Vec<Scenario>,

    /// The backends of the servers; several are measured one after the other, or in turns
    /// where a scenario compares them
    #[arg(long = "backend", value_enum, value_delimiter = ',', default_values_t = [Backend::Postgres])]
    backends: Vec<Backend>,

    /// Run everything at a small size, in well under a minute. This shows that everything works and
    /// says nothing about speed
    #[arg(long)]
    pub(crate) quick: bool,

    /// Compare with other queues instead: the same job through each of them
    #[arg(long)]
    pub(crate) peers: bool,

    /// Length of one measurement [default: 10]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,

    /// Length of the sustained run [default: 600]
    #[arg(long, value_name = "S")]
    sustained_seconds: Option<f64>,

    /// Rate of the sustained run [default: 80 % of the maximum, which is searched first]
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) sustained_rate: Option<f64>,

    /// Connections of the ingest runs [default: 1,16,64,256,1024]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    connections: Option<Vec<usize>>,

    /// Events of a drain [default: 1000000]
    #[arg(long, value_name = "N")]
    drain_events: Option<u64>,

    /// Events waiting in the future in the backlog scenario [default: 10000000]
    #[arg(long, value_name = "N")]
    waiting_events: Option<u64>,

    /// Events processed before in the backlog scenario [default: 20000000]
    #[arg(long, value_name = "N")]
    processed_events: Option<u64>,

    /// Jobs of each queue with --peers [default: 50000]
    #[arg(long, value_name = "N")]
    peer_jobs: Option<u64>,

    /// Threads of the generator [default: one for every four cores]
    #[arg(long, value_name = "N")]
    pub(crate) generator_threads: Option<usize>,

    /// The webhook-server to run, instead of building one
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,

    /// An environment variable for every webhook-server that is started; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) server_env: Vec<(String, String)>,

    /// Compare webhook-servers with each other; give it at least twice. Each is settings
    /// (MAX_CONCURRENT_FLUSHES=2), a program (target/release/webhook-server), or a program and settings with
    /// commas between them
    #[arg(long = "variant", value_name = "[FILE,]NAME=VALUE,…")]
    pub(crate) variants: Vec<Variant>,

    /// A setting of PostgreSQL, such as wal_compression=on; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) settings: Vec<(String, String)>,

    /// Write all figures to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write the report to FILE [default: load.html beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Run the bare server that the others are compared with
    #[command(hide = true)]
    Bare {
        /// The address to listen on
        listen: SocketAddr,
    },
    /// Run the receiver that events are forwarded to
    #[command(hide = true)]
    Receiver {
        /// The address to listen on
        listen: SocketAddr,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Unique events over 1 to 1024 connections, compared with a bare server, with single-row
    /// inserts by pgbench, and with the same server without batching
    Ingest,
    /// 10, 50 and 99 % repeats, and one hot key
    Duplicates,
    /// A million due events through one worker process and through two
    Drain,
    /// Ingest and processing together at 80 % of the maximum: whether latency stays flat, and what
    /// grows
    Sustained,
    /// Ingest and drain beside ten million waiting events, then beside twenty million processed
    /// ones
    Backlog,
    /// How long past due handlers begin, at 50, 1,000 and 5,000 a second, on one node and three
    Lateness,
    /// Processor time and queries per second with nothing to do, direct and through a pooler
    Idle,
    /// One worker with one kind of events and with 200, in this process: drain, and queries while
    /// idle
    Kinds,
    /// Bodies of 300 B, 4 KiB and 64 KiB
    Mixed,
    /// Signed deliveries of 1 KiB to 20 sources, beside transactions of that size, in turns
    Signed,
    /// Ingest while a backlog of a million drains
    Contention,
    /// Events forwarded over 64 connections to a receiver that takes 1 ms, beside a bare client, in
    /// turns; ingest meanwhile; and 100,000 events behind an open circuit breaker
    Forward,
    /// The dashboard open in ten tabs beside ingest and drain, in turns, and the time of its pages, with
    /// ten million events waiting
    Dashboard,
    /// 1, 2 and 4 API and worker processes, and what an event costs in processor time, WAL and disk
    Scale,
    /// Ingest and drain without partitions, with one and with eight, in turns
    Partitions,
    /// The whole pipeline in this process, on the backend in memory
    Memory,
    /// Accept with 1, 64 and 256 callers, and drain, without HTTP, on each backend in turns
    InProcess,
    /// Ingest, drain, and both together through a server on each backend, in turns; needs two backends
    Backends,
}

/// The sizes of the scenarios.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
    /// In how many turns the sides of a comparison are measured.
    pub(crate) turns: u32,
    pub(crate) sustained: Duration,
    pub(crate) search_step: Duration,
    pub(crate) probes: usize,
    pub(crate) connections: Vec<usize>,
    pub(crate) pgbench_clients: Vec<usize>,
    pub(crate) drain_events: u64,
    pub(crate) waiting_events: u64,
    pub(crate) processed_events: u64,
    pub(crate) memory_events: u64,
    pub(crate) peer_jobs: u64,
    pub(crate) peer_pickups: u64,
    pub(crate) idle: Duration,
    pub(crate) lateness_rates: Vec<u32>,
    /// The delay of servers that process events in the same run.
    pub(crate) delay: Duration,
    /// The delay of servers that take events without processing them in the same run.
    pub(crate) parked: Duration,
}

impl Options {
    pub(crate) fn scale(&self) -> Scale {
        let base = if self.quick {
            Scale {
                warm_up: Duration::from_millis(50),
                measure: Duration::from_millis(300),
                turns: 2,
                sustained: Duration::from_secs(1),
                search_step: Duration::from_millis(300),
                probes: 2,
                connections: vec![1, 64],
                pgbench_clients: vec![1, 64],
                drain_events: 3_000,
                waiting_events: 5_000,
                processed_events: 5_000,
                memory_events: 20_000,
                peer_jobs: 1_000,
                peer_pickups: 50,
                idle: Duration::from_millis(600),
                lateness_rates: vec![50, 500],
                delay: Duration::from_millis(200),
                parked: Duration::from_millis(500),
            }
        } else {
            Scale {
                warm_up: Duration::from_secs(2),
                measure: Duration::from_secs(10),
                turns: 5,
                sustained: Duration::from_mins(10),
                search_step: Duration::from_secs(15),
                // Precise to a sixteenth of the maximum.
                probes: 4,
                connections: vec![1, 16, 64, 256, 1024],
                pgbench_clients: vec![1, 16, 64],
                drain_events: 1_000_000,
                waiting_events: 10_000_000,
                processed_events: 20_000_000,
                memory_events: 1_000_000,
                peer_jobs: 50_000,
                peer_pickups: 1_500,
                idle: Duration::from_mins(1),
                lateness_rates: vec![50, 1_000, 5_000],
                delay: Duration::from_secs(2),
                parked: Duration::from_secs(30),
            }
        };
        Scale {
            measure: self.seconds.map_or(base.measure, Duration::from_secs_f64),
            sustained: self
                .sustained_seconds
                .map_or(base.sustained, Duration::from_secs_f64),
            connections: self.connections.clone().unwrap_or(base.connections),
            drain_events: self.drain_events.unwrap_or(base.drain_events),
            waiting_events: self.waiting_events.unwrap_or(base.waiting_events),
            processed_events: self.processed_events.unwrap_or(base.processed_events),
            peer_jobs: self.peer_jobs.unwrap_or(base.peer_jobs),
            ..base
        }
    }

    /// Returns the chosen backends, each once. The other queues use PostgreSQL.
    pub(crate) fn backends(&self) -> Vec<Backend> {
        if self.peers {
            return vec![Backend::Postgres];
        }
        let mut backends = Vec::new();
        for backend in &self.backends {
            if !backends.contains(backend) {
                backends.push(*backend);
            }
        }
        backends
    }

    /// Returns whether a scenario was chosen.
    pub(crate) fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }
}
