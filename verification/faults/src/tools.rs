//! The programs that a run needs, and a database cluster to copy.

use std::io;
use std::path::{Path, PathBuf};

use testkit::folder::Folder;
use testkit::postgres::{Postgres, Programs};
use testkit::process::run;
use tokio::process::Command;

/// The role of the nodes, which owns the database.
pub(crate) const APP: &str = "app";

/// The database of the nodes.
pub(crate) const DATABASE: &str = "inbox";

/// What is found, built or created once for all runs.
#[derive(Debug)]
pub struct Tools {
    pub(crate) programs: Programs,
    pub(crate) node: PathBuf,
    pub(crate) server: PathBuf,
    /// The folder in which the folders of runs are created.
    place: PathBuf,
    template: Folder,
}

impl Tools {
    /// Finds PostgreSQL, or installs it, and creates a cluster. `node` and `server` are the
    /// programs `faults-node` and `faults-server`, and all files are written to `place`.
    ///
    /// # Errors
    ///
    /// Returns an error if one of these steps fails.
    pub async fn prepare(node: PathBuf, server: PathBuf, place: PathBuf) -> anyhow::Result<Self> {
        let programs = Programs::find().await?;
        let template = Folder::create(&place, "faults-template", programs.owner())?;
        let tools = Self {
            programs,
            node,
            server,
            place,
            template,
        };
        tools.make_cluster().await?;
        Ok(tools)
    }

    /// Returns a folder that PostgreSQL may write to.
    pub(crate) fn folder(&self, purpose: &str) -> io::Result<Folder> {
        Folder::create(
            &self.place,
            &format!("faults-{purpose}"),
            self.programs.owner(),
        )
    }

    async fn make_cluster(&self) -> anyhow::Result<()> {
        let data = self.template.path().join("data");
        let settings = "
            listen_addresses = '127.0.0.1'
            unix_socket_directories = ''
            shared_buffers = 64MB
            min_wal_size = 8MB
            max_wal_size = 512MB
        ";
        // The segments are small because some runs have small disks.
        let arguments = ["--auth=trust", "--wal-segsize=1"];
        self.programs
            .make_cluster(&data, &arguments, settings)
            .await?;

        let mut postgres = self.start_postgres(&data, &[]).await?;
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
        // The table has no constraint that prevents a second effect.
        postgres
            .execute(
                "CREATE TABLE public.effects (event bigint NOT NULL, fence bigint NOT NULL);
                 GRANT ALL ON public.effects TO public",
            )
            .await?;
        postgres.stop().await
    }

    /// Returns a copy of the cluster, ready to be started, in a new folder.
    pub(crate) async fn copy_cluster(&self, data: &Path) -> anyhow::Result<()> {
        let source = self.template.path().join("data");
        run(Command::new("cp").arg("-a").arg(source).arg(data)).await
    }

    /// Starts a server on the cluster `data` with these additional settings (`name=value`).
    pub(crate) async fn start_postgres(
        &self,
        data: &Path,
        settings: &[&str],
    ) -> anyhow::Result<Postgres> {
        Postgres::start(&self.programs, data, DATABASE, settings).await
    }
}

/// Returns the URL of the nodes' database for the nodes' role, with the server or proxy at `port`.
pub(crate) fn url_at(port: u16) -> String {
    url_of(APP, port)
}

/// Returns the same URL for another role.
pub(crate) fn url_of(role: &str, port: u16) -> String {
    format!("postgres://{role}@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
}
