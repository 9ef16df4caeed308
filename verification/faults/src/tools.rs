//! The programs that a run needs, and a PostgreSQL cluster to copy.

use std::io;
use std::path::{Path, PathBuf};

use testkit::folder::Folder;
use testkit::postgres::{Postgres, Programs};
use testkit::process::run;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::disk;
use crate::fault::Unsupported;

/// The role of the nodes, which owns the database.
pub(crate) const APP: &str = "app";

/// The database of the nodes.
pub(crate) const DATABASE: &str = "inbox";

/// What is found, built or created once for all runs.
#[derive(Debug)]
pub struct Tools {
    pub(crate) node: PathBuf,
    pub(crate) server: PathBuf,
    /// The folder in which the folders of runs are created.
    place: PathBuf,
    /// Made by the first run that needs PostgreSQL.
    cluster: OnceCell<Cluster>,
    /// Compiled by the first run that needs it, into the folder.
    disk_shim: OnceCell<(PathBuf, Folder)>,
}

impl Tools {
    /// `node` and `server` are the programs `faults-node` and `faults-server`, and all files are
    /// written to `place`.
    pub fn new(node: PathBuf, server: PathBuf, place: PathBuf) -> Self {
        Self {
            node,
            server,
            place,
            cluster: OnceCell::new(),
            disk_shim: OnceCell::new(),
        }
    }

    /// Returns a new folder.
    pub(crate) fn folder(&self, purpose: &str) -> io::Result<Folder> {
        Folder::create(&self.place, &format!("faults-{purpose}"), None)
    }

    /// Finds PostgreSQL, or installs it, and creates a cluster, unless that is done.
    pub(crate) async fn cluster(&self) -> anyhow::Result<&Cluster> {
        self.cluster
            .get_or_try_init(|| Cluster::make(&self.place))
            .await
    }
}

impl Tools {
    /// Compiles the shim of a disk, unless that is done, and returns the library.
    pub(crate) async fn disk_shim(&self) -> anyhow::Result<&Path> {
        let compile = async || {
            let folder = self.folder("shim")?;
            let library = disk::compile(&folder).await;
            let library = library.map_err(|error| Unsupported(format!("{error:#}")))?;
            anyhow::Ok((library, folder))
        };
        let (library, _) = self.disk_shim.get_or_try_init(compile).await?;
        Ok(library)
    }
}

/// PostgreSQL's programs, and a cluster to copy.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) programs: Programs,
    place: PathBuf,
    template: Folder,
}

impl Cluster {
    async fn make(place: &Path) -> anyhow::Result<Self> {
        let programs = Programs::find().await?;
        let template = Folder::create(place, "faults-template", programs.owner())?;
        let cluster = Self {
            programs,
            place: place.to_owned(),
            template,
        };
        cluster.fill().await?;
        Ok(cluster)
    }

    /// Returns a new folder that PostgreSQL may write to.
    pub(crate) fn folder(&self, purpose: &str) -> io::Result<Folder> {
        let owner = self.programs.owner();
        Folder::create(&self.place, &format!("faults-{purpose}"), owner)
    }

    async fn fill(&self) -> anyhow::Result<()> {
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

        let mut postgres = self.start(&data, &[]).await?;
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

    /// Starts a server on the cluster `data` with these additional settings (`name=value`).
    pub(crate) async fn start(&self, data: &Path, settings: &[&str]) -> anyhow::Result<Postgres> {
        Postgres::start(&self.programs, data, DATABASE, settings).await
    }

    /// Copies the cluster to `data`, and starts a server on it with these additional settings.
    pub(crate) async fn start_copy(
        &self,
        data: &Path,
        settings: &[&str],
    ) -> anyhow::Result<Postgres> {
        let source = self.template.path().join("data");
        run(Command::new("cp").arg("-a").arg(source).arg(data)).await?;
        self.start(data, settings).await
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
