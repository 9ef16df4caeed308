//! The programs that a run needs, and a database cluster to copy.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::ensure;
use testkit::folder::{Folder, Owner};
use testkit::process::run;
use testkit::tools::find_or_install;
use tokio::process::Command;

use crate::postgres::Postgres;

/// The role of PostgreSQL's administrator here.
pub(crate) const ADMIN: &str = "webhook";

/// The role of the nodes, to whom the database belongs.
pub(crate) const APP: &str = "app";

/// The database of the nodes.
pub(crate) const DATABASE: &str = "inbox";

/// All that is found, built or made once for all runs.
#[derive(Debug)]
pub struct Tools {
    /// Of PostgreSQL's programs.
    bindir: PathBuf,
    pub(crate) node: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) owner: Option<Owner>,
    /// Where folders are made.
    place: PathBuf,
    template: Folder,
}

impl Tools {
    /// Finds PostgreSQL, or installs it, and makes a cluster; `node` and `server` are the programs
    /// `faults-node` and `faults-server`, and all that is written goes to `place`.
    ///
    /// # Errors
    ///
    /// When something of it cannot be had.
    pub async fn prepare(node: PathBuf, server: PathBuf, place: PathBuf) -> anyhow::Result<Self> {
        let bindir = find_or_install("postgres").await?;
        let owner = Owner::needed()?;
        let template = Folder::create(&place, "faults-template", owner)?;
        let tools = Self {
            bindir,
            node,
            server,
            owner,
            place,
            template,
        };
        tools.make_cluster().await?;
        Ok(tools)
    }

    /// A folder that PostgreSQL may write to.
    pub(crate) fn folder(&self, purpose: &str) -> io::Result<Folder> {
        Folder::create(&self.place, &format!("faults-{purpose}"), self.owner)
    }

    async fn make_cluster(&self) -> anyhow::Result<()> {
        let data = self.template.path().join("data");
        let initdb = self
            .postgres_command("initdb")
            .arg("--pgdata")
            .arg(&data)
            .args(["--username", ADMIN, "--encoding=UTF8", "--locale=C"])
            // Small segments, as some runs have small disks.
            .args(["--auth=trust", "--no-sync", "--wal-segsize=1"])
            .output()
            .await?;
        ensure!(
            initdb.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&initdb.stderr)
        );
        let settings = "
            listen_addresses = '127.0.0.1'
            unix_socket_directories = ''
            shared_buffers = 64MB
            min_wal_size = 8MB
            max_wal_size = 512MB
        ";
        let file = data.join("postgresql.conf");
        let mut conf = std::fs::read_to_string(&file)?;
        conf.push_str(settings);
        std::fs::write(&file, conf)?;

        let mut postgres = Postgres::start(self, data, &[]).await?;
        let mut maintenance = postgres.connect_to("postgres").await?;
        for sql in [
            format!("CREATE ROLE {APP} LOGIN"),
            format!("CREATE DATABASE {DATABASE} OWNER {APP}"),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(&mut maintenance)
                .await?;
        }
        drop(maintenance);
        // Nothing here keeps an effect from happening twice.
        postgres
            .execute(
                "CREATE TABLE public.effects (event bigint NOT NULL, fence bigint NOT NULL);
                 GRANT ALL ON public.effects TO public",
            )
            .await?;
        postgres.stop().await
    }

    /// A copy of the cluster, ready to be started, in a folder that is not there yet.
    pub(crate) async fn copy_cluster(&self, data: &Path) -> anyhow::Result<()> {
        let source = self.template.path().join("data");
        run(Command::new("cp").arg("-a").arg(source).arg(data)).await
    }

    /// A program of PostgreSQL, to be run as whoever may.
    pub(crate) fn postgres_command(&self, program: &str) -> Command {
        self.as_owner(self.bindir.join(program))
    }

    /// A program, to be run as PostgreSQL is.
    pub(crate) fn as_owner(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(owner) = self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}
