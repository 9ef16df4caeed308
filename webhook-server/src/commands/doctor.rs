//! `doctor`: checks what the server needs where it runs, and says what to do about what is wrong.

mod machine;

use std::future::Future;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime};

use clap::Args;
use futures_util::stream::StreamExt as _;
use serde::Serialize;
use tokio::time::timeout;
use webhook_core::{PartitionError, with_causes};
use webhook_forward::{Client, ClientOptions};
use webhook_postgres::{PgStore, Pooler};

use super::check::Checked;
use super::{CommandError, Output, blocking};
use crate::backend::{CommandBackend, OpenError, backend_url, outdated_files};
use crate::config::{BackendUrl, Config, Forwarding};
use crate::healthcheck::healthcheck;
use crate::logging::escaped;
use crate::views::counted;

/// How long a check may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How many destinations are connected to at the same time.
const CONNECTIONS: usize = 32;

/// How far the clock of the database may be from that of this machine: signatures have times, too.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

/// The options of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "Run it with the configuration of the server, and as its user. It changes nothing, and sends nothing to \
        destinations: it connects to them, and closes the connection.\n\n\
        Exit codes: 0 no error, 1 an error, 2 usage error"
)]
pub struct Doctor {
    /// Print one JSON object per line instead of text
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// Makes the findings of one check.
#[derive(Clone, Copy)]
struct Check(&'static str);

impl Check {
    fn ok(self, message: impl Into<String>) -> Finding {
        self.finding(Level::Ok, message.into(), None)
    }

    fn warning(self, message: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.finding(Level::Warning, message.into(), Some(advice.into()))
    }

    fn error(self, message: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.finding(Level::Error, message.into(), Some(advice.into()))
    }

    const fn finding(self, level: Level, message: String, advice: Option<String>) -> Finding {
        Finding {
            check: self.0,
            level,
            message,
            advice,
        }
    }

    /// What `checking` finds, or that it takes too long.
    async fn within(self, checking: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
        match timeout(TIME_LIMIT, checking).await {
            Ok(found) => found,
            Err(_) => vec![self.error(
                format!("no result within {TIME_LIMIT:?}"),
                "see whether a file system, a name server or the database does not answer",
            )],
        }
    }

    /// What `checking` finds, which blocks.
    async fn blocking(
        self,
        config: &Config,
        checking: impl FnOnce(&Config) -> Vec<Finding> + Send + 'static,
    ) -> Vec<Finding> {
        let checked = blocking(config, |config| Ok(checking(config)));
        self.within(async {
            checked.await.unwrap_or_else(|error| {
                vec![self.error(with_causes(&error), "run `webhook-server check`")]
            })
        })
        .await
    }
}

impl Doctor {
    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let (configuration, secrets, database, addresses, machine, traces) = tokio::join!(
            configuration_and_destinations(config),
            Check("secrets").blocking(config, machine::secrets),
            Check("database").within(database(config)),
            Check("address").within(addresses(config)),
            Check("machine").blocking(config, machine::limits),
            Check("traces").within(collector(config)),
        );
        let found = [configuration, secrets, database, addresses, machine, traces].concat();
        let mut output = Output::new(self.json);
        for finding in &found {
            output.write(finding, |out| write(finding, out))?;
        }
        let errors = found.iter().filter(|it| it.level == Level::Error).count();
        match errors {
            0 => Ok(()),
            errors => Err(CommandError::Unwell { errors }),
        }
    }
}

fn write(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let (check, message) = (finding.check, escaped(&finding.message));
    writeln!(out, "{level:<8} {check:<14} {message}")?;
    match &finding.advice {
        Some(advice) => writeln!(out, "{:<23} {}", "", escaped(advice)),
        None => Ok(()),
    }
}

/// The configuration, and whether its destinations can be reached.
async fn configuration_and_destinations(config: &Config) -> Vec<Finding> {
    const CHECK: Check = Check("configuration");
    let reading = blocking(config, |config| Ok(Checked::read(config)));
    let checked = match timeout(TIME_LIMIT, reading).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(error)) => {
            return vec![CHECK.error(with_causes(&error), "run `webhook-server check`")];
        }
        Err(_) => {
            return vec![CHECK.error(
                format!("its files were not read within {TIME_LIMIT:?}"),
                "see whether one of them is a pipe that nobody writes to",
            )];
        }
    };
    let mut found: Vec<_> = checked
        .errors
        .iter()
        .map(|error| {
            CHECK.error(
                error,
                "the server does not start, or does not use this part",
            )
        })
        .collect();
    let warnings = config.warnings();
    let warnings = warnings.iter().chain(&checked.sources.warnings);
    // They say themselves what to do.
    found.extend(warnings.map(|it| CHECK.finding(Level::Warning, it.clone(), None)));
    if checked.errors.is_empty() {
        let sources = counted(checked.sources.sources.len(), "source", "sources");
        found.push(CHECK.ok(format!("valid, with {sources} beside transactions")));
    }
    found.extend(destinations(&checked).await);
    found
}

/// Connects to each destination, and sends nothing.
async fn destinations(checked: &Checked) -> Vec<Finding> {
    let of_transactions = checked.forwarding.iter().map(|it| ("FORWARD_URL", it));
    let of_sources = checked.sources.sources.iter().filter_map(|source| {
        let forward = source.forward.as_ref()?;
        Some((source.name.as_str(), forward))
    });
    let all = of_transactions.chain(of_sources);
    let connecting = futures_util::stream::iter(all).map(|(name, it)| destination(name, it));
    connecting.buffered(CONNECTIONS).collect().await
}

async fn destination(name: &str, forwarding: &Forwarding) -> Finding {
    const CHECK: Check = Check("destination");
    let destination = &forwarding.destination;
    let mut options = ClientOptions::default();
    options.connect_timeout = destination.connect_timeout.min(TIME_LIMIT);
    options.reach = destination.reach;
    options.tls = destination.tls.clone();
    let url = &forwarding.url;
    match Client::new(options).connect(&destination.url).await {
        Ok(peer) => CHECK.ok(format!("{name}: {url} takes connections, on {peer}")),
        Err(error) => CHECK.error(
            format!("{name}: {url}: {}", with_causes(&error)),
            "events wait and are tried again: start the app, or correct the URL, the firewall or the certificate",
        ),
    }
}

/// Connects to the collector of traces, if there is one, and sends nothing.
async fn collector(config: &Config) -> Vec<Finding> {
    const CHECK: Check = Check("traces");
    let Some(otel) = &config.otel else {
        return Vec::new();
    };
    let mut options = ClientOptions::default();
    options.connect_timeout = options.connect_timeout.min(otel.timeout).min(TIME_LIMIT);
    let url = &otel.endpoint;
    vec![match Client::new(options).connect(url.uri()).await {
        Ok(peer) => CHECK.ok(format!("the collector {url} takes connections, on {peer}")),
        Err(error) => CHECK.warning(
            format!("the collector {url}: {}", with_causes(&error)),
            "spans are lost until it answers: start it, or correct OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
    }]
}

/// The database that `DATABASE_URL` names.
async fn database(config: &Config) -> Vec<Finding> {
    const CHECK: Check = Check("database");
    let mut config = config.clone();
    // The first attempt is made however short the wait is.
    config.database_wait_seconds = Duration::from_secs(1);
    let url = match backend_url(&config).await {
        Ok(url) => url,
        Err(error) => {
            return vec![CHECK.error(with_causes(&error), "correct DATABASE_URL, or its file")];
        }
    };
    if let BackendUrl::Memory = url {
        return vec![CHECK.warning(
            "events are kept in memory, and are lost with the process",
            "set DATABASE_URL to sqlite:PATH or postgres://…",
        )];
    }
    // Opening a bad file gives the better error.
    let outdated = outdated_files(&url).await.unwrap_or_default();
    if !outdated.is_empty() {
        let outdated = outdated.iter().map(|path| {
            CHECK.warning(
                format!("the tables in {} are those of an older version", path.display()),
                "the next start updates them, and servers of the older version cannot use the file then: make a \
                 backup first, if you may have to go back",
            )
        });
        return outdated.collect();
    }
    let backend = match CommandBackend::open(&config).await {
        Ok(backend) => backend,
        Err(error) => {
            if let OpenError::NoSqliteFile { path, .. } = error.of_backend() {
                let path = path.display();
                return vec![CHECK.warning(
                    format!("there is no SQLite file {path} yet"),
                    "the server creates it; if there should be one, correct DATABASE_URL, or the working directory",
                )];
            }
            let advice = match error.of_backend() {
                OpenError::NotReady(_) => {
                    "run `webhook-server migrate` as the role that owns the schema, or give the role its rights"
                }
                OpenError::Unreachable { .. } => {
                    "start the database, or correct host and port in DATABASE_URL, or the firewall"
                }
                OpenError::Partitions(PartitionError::AllNeeded { .. }) => {
                    "start the database of the partition, or correct its host and port in DATABASE_URL"
                }
                OpenError::Partitions(
                    PartitionError::NoInbox { .. } | PartitionError::Unmarked { .. },
                ) => "start a server, or correct PARTITIONS or DATABASE_URL",
                OpenError::Partitions(_) => {
                    "correct the order of the URLs in DATABASE_URL, or PARTITIONS: both stay as they were when the inbox \
                     was made"
                }
                _ => "correct DATABASE_URL, the role, or the file",
            };
            return vec![CHECK.error(with_causes(&error), advice)];
        }
    };
    let mut found = match &backend.partitions {
        None => vec![CHECK.ok("it answers, and has the schema of this version")],
        Some(partitions) => of_partitions(partitions.ping().await),
    };
    let count = found.len();
    let answers: Vec<bool> = found.iter().map(|it| it.level == Level::Ok).collect();
    for (index, postgres) in backend.postgres() {
        if !answers[index] {
            continue;
        }
        let of_database = of_postgres(postgres).await;
        match &backend.partitions {
            None => found.extend(of_database),
            // Several partitions are on each server: what is right would be said for each of them.
            Some(_) => found.extend(
                of_database
                    .into_iter()
                    .filter(|it| it.level != Level::Ok)
                    .map(|mut finding| {
                        finding.message =
                            format!("partition {index} of {count}: {}", finding.message);
                        finding
                    }),
            ),
        }
    }
    backend.close().await;
    found
}

/// What is wrong with each partition.
fn of_partitions(problems: Vec<Option<String>>) -> Vec<Finding> {
    const CHECK: Check = Check("partition");
    let count = problems.len();
    let found = problems.into_iter().enumerate();
    found
        .map(|(index, problem)| match problem {
            None => CHECK.ok(format!("partition {index} of {count} answers")),
            Some(problem) => CHECK.error(
                format!("partition {index} of {count} does not answer: {problem}"),
                "start its database: until then, its events wait, and deliveries of its keys get 503",
            ),
        })
        .collect()
}

async fn of_postgres(database: &PgStore) -> Vec<Finding> {
    const CHECK: Check = Check("database");
    let mut found = Vec::new();
    if database.pooler() == Pooler::Transaction {
        found.push(CHECK.ok("behind a pooler in transaction mode: workers poll"));
    }
    let before = SystemTime::now();
    let facts = match database.facts().await {
        Ok(facts) => facts,
        Err(error) => {
            found.push(CHECK.error(with_causes(&error), "see the log of PostgreSQL"));
            return found;
        }
    };
    let here = before + before.elapsed().unwrap_or_default() / 2;
    let difference = facts
        .clock
        .duration_since(here)
        .unwrap_or_else(|behind| behind.duration());
    found.push(if difference > MAX_CLOCK_DIFFERENCE {
        CHECK.warning(
            format!(
                "its clock and that of this machine differ by {} s",
                difference.as_secs()
            ),
            "synchronise both, by chrony or systemd-timesyncd: events are due by the clock of the database, and \
             signatures are checked by that of this machine",
        )
    } else {
        CHECK.ok(format!(
            "its clock and that of this machine differ by {} ms",
            difference.as_millis()
        ))
    });
    found.push(match facts.statement_timeout {
        Some(limit) => CHECK.ok(format!(
            "it ends statements of this server after {} s (statement_timeout)",
            limit.as_secs_f64()
        )),
        None => CHECK.warning(
            "it does not end statements that run for too long: statement_timeout is 0 in the sessions of this server",
            "let a pooler between them pass on the start-up parameter `options`, or what sets it to 0 not do so",
        ),
    });
    if !facts.survives_crashes {
        found.push(CHECK.error(
            "fsync or full_page_writes is off: a crash of its machine loses events that were acknowledged",
            "set both to on in postgresql.conf, and reload it",
        ));
    }
    found
}

/// Whether the addresses are free, or this server answers there.
async fn addresses(config: &Config) -> Vec<Finding> {
    let public = ("BIND_ADDR", config.bind_addr);
    let operators = config.operator_addr.map(|addr| ("OPERATOR_ADDR", addr));
    let metrics = config.metrics_addr.map(|addr| ("METRICS_ADDR", addr));
    let mut found = Vec::new();
    for (name, addr) in [public].into_iter().chain(operators).chain(metrics) {
        found.push(address(name, addr, config).await);
    }
    found
}

async fn address(name: &str, addr: SocketAddr, config: &Config) -> Finding {
    const CHECK: Check = Check("address");
    let error = match TcpListener::bind(addr) {
        Ok(_) => return CHECK.ok(format!("{name} {addr} is free")),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        let advice = match error.kind() {
            io::ErrorKind::AddrNotAvailable => "this machine does not have the address: correct it",
            io::ErrorKind::PermissionDenied => {
                "use a port of 1024 or more, or give the process CAP_NET_BIND_SERVICE"
            }
            _ => "choose another address",
        };
        return CHECK.error(format!("{name} {addr}: {error}"), advice);
    }
    let mut config = config.clone();
    config.bind_addr = addr;
    match healthcheck(&config).await {
        Ok(()) => CHECK.ok(format!("a server answers on {name} {addr}")),
        Err(unhealthy) => CHECK.error(
            format!("{name} {addr} is in use: {}", with_causes(&unhealthy)),
            "stop the program that uses it (`ss -ltnp` shows it), or choose another address",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn checks_that_do_not_end_are_errors() {
        let found = Check("slow").within(std::future::pending()).await;
        assert_eq!((found.len(), found[0].level), (1, Level::Error));
        assert!(found[0].message.contains("5s"), "{found:?}");
    }

    #[tokio::test]
    async fn addresses_of_other_programs_are_errors() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let answering = std::thread::spawn(move || drop(taken.accept()));
        let found = address("BIND_ADDR", addr, &Config::default()).await;
        answering.join().unwrap();
        assert_eq!(found.level, Level::Error, "{found:?}");
        assert!(found.message.contains("is in use"), "{found:?}");
        let free = address(
            "BIND_ADDR",
            "127.0.0.1:0".parse().unwrap(),
            &Config::default(),
        )
        .await;
        assert_eq!(free.level, Level::Ok);
    }
}
