//! The programs that a run needs, and a database cluster to copy.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::folder::Folder;
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

/// Whom PostgreSQL runs as, where this program runs as root: it refuses to be root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Tools {
    /// Finds PostgreSQL, or installs it, and makes a cluster; `node` and `server` are the programs
    /// `faults-node` and `faults-server`, and all that is written goes to `place`.
    ///
    /// # Errors
    ///
    /// When something of it cannot be had.
    pub async fn prepare(node: PathBuf, server: PathBuf, place: PathBuf) -> anyhow::Result<Self> {
        let bindir = PathBuf::from(find_or_install("postgres").await?);
        let owner = Owner::needed()?;
        let template = Folder::create(&place, "template", owner)?;
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
        Folder::create(&self.place, purpose, self.owner)
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

impl Owner {
    /// Gives it a file or a folder.
    pub(crate) fn take(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    /// The user `postgres`, or `nobody`; none where this program is not root.
    fn needed() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd")?;
        let find = |name: &str| {
            let line = users
                .lines()
                .find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Self {
                uid: fields.next()?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            })
        };
        let owner = find("postgres").or_else(|| find("nobody"));
        Ok(Some(owner.context("there is no user postgres or nobody")?))
    }
}

/// Where folders are made unless it is said: root's own TMPDIR may be closed to others.
pub fn usual_place() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        PathBuf::from("/tmp")
    } else {
        std::env::temp_dir()
    }
}

/// Where a tool is, as the script says.
pub(crate) async fn find_or_install(tool: &str) -> anyhow::Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/find-or-install");
    let found = Command::new(script).arg(tool).output().await?;
    ensure!(
        found.status.success(),
        "{tool} is missing: {}",
        String::from_utf8_lossy(&found.stderr)
    );
    Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
}

/// Runs a command to its end.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().await?;
    ensure!(
        output.status.success(),
        "{:?} failed: {}",
        command.as_std(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
