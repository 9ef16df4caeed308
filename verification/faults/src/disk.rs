//! A disk that fails on demand, and that shows what it could hold if power was lost.
//!
//! A shim in the process under test (`disk/shim.c`) records each write and each sync of the files of
//! one SQLite database. [`Replay`] repeats the record up to any moment, and keeps what was synced by
//! then apart from what was not: a disk that loses power has all of the former, and any part of the
//! latter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use testkit::folder::Folder;
use testkit::process::run;
use testkit::tools::find_or_install;
use tokio::process::Command;

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// What the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// It works.
    Works = 0,
    /// It cannot be written to.
    ReadOnly = 1,
    /// Writes fail after their first half.
    WriteFails = 2,
    /// Syncs fail.
    SyncFails = 3,
    /// Syncs of the database file seem to work, and do nothing.
    DatabaseSyncIgnored = 4,
    /// The same for syncs of the write-ahead log.
    WalSyncIgnored = 5,
    /// The same for syncs of the folder, which keep the names of new files.
    FolderSyncIgnored = 6,
    /// Syncs of the database file fail. What was committed to the log is durable.
    DatabaseSyncFails = 7,
}

/// The length of the file that all processes share: the mode, and counters.
const SHARED_BYTES: usize = 64;

/// The shim of one process.
#[derive(Debug)]
pub(crate) struct Disk {
    library: PathBuf,
    log: PathBuf,
    mode: PathBuf,
}

impl Disk {
    /// Uses the compiled shim `library`, and keeps the files of `name` in `folder`.
    pub(crate) fn new(library: &Path, folder: &Path, name: &str) -> io::Result<Self> {
        let disk = Self {
            library: library.to_owned(),
            log: folder.join(format!("{name}.disk-log")),
            mode: folder.join(format!("{name}.disk-mode")),
        };
        std::fs::write(&disk.log, [])?;
        let mut shared = [0; SHARED_BYTES];
        shared[0] = Mode::Works as u8;
        std::fs::write(&disk.mode, shared)?;
        Ok(disk)
    }

    /// Returns the variables of a process that uses the files of `database` through it.
    pub(crate) fn variables(&self, database: &Path) -> [(&'static str, String); 4] {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("FAULTS_DISK_DATABASE", text(database)),
            ("FAULTS_DISK_LOG", text(&self.log)),
            ("FAULTS_DISK_MODE", text(&self.mode)),
        ]
    }

    /// Changes what it does, which takes effect at once.
    pub(crate) fn set(&self, mode: Mode) -> io::Result<()> {
        let file = File::options().write(true).open(&self.mode)?;
        file.write_all_at(&[mode as u8], 0)
    }

    /// Reads what was done so far.
    pub(crate) fn calls(&self) -> anyhow::Result<Vec<Call>> {
        let mut log = io::BufReader::new(File::open(&self.log)?);
        let mut calls = Vec::new();
        loop {
            let mut head = [0; 32];
            match log.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(calls),
                Err(error) => return Err(error.into()),
            }
            let number = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().expect("8"));
            let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("4"));
            let mut data = vec![0; usize::try_from(number(16))?];
            // The process may have been killed while it wrote the record, before the call itself.
            if log.read_exact(&mut data).is_err() {
                return Ok(calls);
            }
            let offset = usize::try_from(number(8))?;
            let what = match word(0) {
                1 => What::Create,
                2 => What::Write { offset, data },
                3 => What::Truncate { length: offset },
                4 => What::Sync,
                5 => What::SyncFailed,
                6 => What::Unlink,
                other => bail!("the disk's log has a call {other}"),
            };
            calls.push(Call {
                what,
                part: Part::of(word(4)).context("the disk's log has an unknown file")?,
                at_us: i64::try_from(number(24))?,
            });
        }
    }
}

/// Compiles the shim.
pub(crate) async fn compile(folder: &Folder) -> anyhow::Result<PathBuf> {
    ensure!(cfg!(target_os = "linux"), "the disk shim needs Linux");
    let compiler = find_or_install("cc").await?;
    let source = folder.path().join("shim.c");
    let library = folder.path().join("shim.so");
    std::fs::write(&source, include_str!("disk/shim.c"))?;
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-O1", "-o"]);
    run(command.arg(&library).arg(&source)).await?;
    Ok(library)
}

/// A call that changed one of the files.
#[derive(Debug)]
pub(crate) struct Call {
    what: What,
    part: Part,
    /// When, in microseconds since 1970. What anybody did before could not yet see it.
    pub(crate) at_us: i64,
}

#[derive(Debug)]
enum What {
    Create,
    Write { offset: usize, data: Vec<u8> },
    Truncate { length: usize },
    Sync,
    SyncFailed,
    Unlink,
}

/// One of the files of a database, or their folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Database,
    Wal,
    Journal,
    Folder,
}

impl Part {
    const FILES: [Self; 3] = [Self::Database, Self::Wal, Self::Journal];

    const fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Database,
            2 => Self::Wal,
            3 => Self::Journal,
            4 => Self::Folder,
            _ => return None,
        })
    }

    /// Where it is, for a file.
    fn path(self, database: &Path) -> PathBuf {
        let mut name = database.to_owned().into_os_string();
        name.push(match self {
            Self::Database | Self::Folder => "",
            Self::Wal => "-wal",
            Self::Journal => "-journal",
        });
        name.into()
    }
}

/// The contents of the files at a moment. A file that is missing does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image(BTreeMap<Part, Vec<u8>>);

impl Image {
    /// Reads the files themselves.
    pub(crate) fn read(database: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for part in Part::FILES {
            match std::fs::read(part.path(database)) {
                Ok(content) => drop(files.insert(part, content)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(files))
    }

    /// Replaces the files, and deletes the shared memory beside them, as a boot does.
    pub(crate) fn write(&self, database: &Path) -> io::Result<()> {
        for part in Part::FILES {
            let path = part.path(database);
            match self.0.get(&part) {
                Some(content) => File::create(path)?.write_all(content)?,
                None => remove(&path)?,
            }
        }
        let mut shared_memory = database.to_owned().into_os_string();
        shared_memory.push("-shm");
        remove(Path::new(&shared_memory))
    }

    /// The length of the write-ahead log.
    pub(crate) fn wal_length(&self) -> usize {
        self.0.get(&Part::Wal).map_or(0, Vec::len)
    }

    /// The same with only the first `length` bytes of the write-ahead log.
    pub(crate) fn with_wal_cut(&self, length: usize) -> Self {
        let mut image = self.clone();
        if let Some(wal) = image.0.get_mut(&Part::Wal) {
            wal.truncate(length);
        }
        image
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The state of the disk at a moment of the record.
#[derive(Debug, Default)]
pub(crate) struct Replay<'c> {
    /// Every file that there has been; several may have had one name, one after the other.
    files: Vec<Contents<'c>>,
    names: BTreeMap<Part, Names>,
}

#[derive(Debug, Default)]
struct Contents<'c> {
    synced: Vec<u8>,
    /// What was not synced yet, in order.
    pending: Vec<&'c Call>,
}

/// Which file has a name.
#[derive(Debug, Default)]
struct Names {
    synced: Option<usize>,
    /// The changes since the folder was synced.
    pending: Vec<Option<usize>>,
}

impl Names {
    fn now(&self) -> Option<usize> {
        self.pending.last().copied().unwrap_or(self.synced)
    }
}

/// What happens to what was not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// All of it reached the disk.
    Kept,
    /// None of it did.
    Lost,
    /// What was written first did, up to some byte.
    Prefix,
    /// Some of the writes did.
    SomeWrites,
    /// Some sectors of the writes did.
    SomeSectors,
}

impl Fate {
    const ALL: [Self; 5] = [
        Self::Kept,
        Self::Lost,
        Self::Prefix,
        Self::SomeWrites,
        Self::SomeSectors,
    ];

    fn any(random: &mut StdRng) -> Self {
        Self::ALL[random.random_range(0..Self::ALL.len())]
    }
}

impl<'c> Replay<'c> {
    /// Begins with files that are synced.
    pub(crate) fn from(image: &Image) -> Self {
        let mut replay = Self::default();
        for (part, content) in &image.0 {
            let names = replay.names.entry(*part).or_default();
            names.synced = Some(replay.files.len());
            replay.files.push(Contents {
                synced: content.clone(),
                pending: Vec::new(),
            });
        }
        replay
    }

    /// Repeats a call. `random` decides what a sync that failed left on the disk: the system counts
    /// such data as written, and does not write it again.
    pub(crate) fn advance(&mut self, call: &'c Call, random: &mut StdRng) {
        if call.part == Part::Folder {
            if matches!(call.what, What::Sync) {
                for names in self.names.values_mut() {
                    names.synced = names.now();
                    names.pending.clear();
                }
            }
            return;
        }
        let names = self.names.entry(call.part).or_default();
        match call.what {
            What::Create => {
                names.pending.push(Some(self.files.len()));
                self.files.push(Contents::default());
                return;
            }
            What::Unlink => {
                names.pending.push(None);
                return;
            }
            _ => {}
        }
        let Some(file) = names.now().map(|number| &mut self.files[number]) else {
            return;
        };
        match call.what {
            What::Write { .. } | What::Truncate { .. } => file.pending.push(call),
            What::Sync => {
                file.synced = file.content(Fate::Kept, random);
                file.pending.clear();
            }
            What::SyncFailed => {
                file.synced = file.content(Fate::any(random), random);
                file.pending.clear();
            }
            What::Create | What::Unlink => {}
        }
    }

    /// Whether anything was not synced.
    pub(crate) fn is_open(&self) -> bool {
        let mut files = self.files.iter();
        let mut names = self.names.values();
        files.any(|it| !it.pending.is_empty()) || names.any(|it| !it.pending.is_empty())
    }

    /// Returns what the disk could hold if power was lost now.
    pub(crate) fn image(&self, random: &mut StdRng) -> Image {
        let mut image = Image::default();
        for (part, names) in &self.names {
            let choice = random.random_range(0..=names.pending.len());
            let file = match choice {
                0 => names.synced,
                later => names.pending[later - 1],
            };
            if let Some(file) = file {
                let fate = Fate::any(random);
                let content = self.files[file].content(fate, random);
                image.0.insert(*part, content);
            }
        }
        image
    }
}

impl Contents<'_> {
    fn content(&self, fate: Fate, random: &mut StdRng) -> Vec<u8> {
        let mut content = self.synced.clone();
        let last = match fate {
            Fate::Prefix => random.random_range(0..=self.pending.len()),
            _ => self.pending.len(),
        };
        for (number, call) in self.pending.iter().enumerate().take(last) {
            let is_kept = match fate {
                Fate::Kept | Fate::Prefix | Fate::SomeSectors => true,
                Fate::Lost => false,
                Fate::SomeWrites => random.random(),
            };
            match &call.what {
                What::Truncate { length } if is_kept => content.resize(*length, 0),
                What::Write { offset, data } if is_kept => match fate {
                    Fate::Prefix if number + 1 == last => {
                        let length = random.random_range(0..=data.len());
                        put(&mut content, *offset, &data[..length]);
                    }
                    Fate::SomeSectors => put_some_sectors(&mut content, *offset, data, random),
                    _ => put(&mut content, *offset, data),
                },
                _ => {}
            }
        }
        content
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

fn put_some_sectors(content: &mut Vec<u8>, offset: usize, data: &[u8], random: &mut StdRng) {
    let mut start = 0;
    while start < data.len() {
        let next_sector = SECTOR - (offset + start) % SECTOR;
        let end = data.len().min(start + next_sector);
        if random.random() {
            put(content, offset + start, &data[start..end]);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn call(part: Part, what: What) -> Call {
        Call {
            what,
            part,
            at_us: 0,
        }
    }

    fn write(offset: usize, data: &[u8]) -> Call {
        let data = data.to_owned();
        call(Part::Database, What::Write { offset, data })
    }

    /// Returns the contents of the database file in many images.
    fn contents(calls: &[Call]) -> Vec<Option<Vec<u8>>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut replay = Replay::default();
        for call in calls {
            replay.advance(call, &mut random);
        }
        let images = (0..200).map(|_| replay.image(&mut random));
        images
            .map(|image| image.0.get(&Part::Database).cloned())
            .collect()
    }

    #[test]
    fn what_is_synced_is_on_the_disk() {
        let sync = |part| call(part, What::Sync);
        let calls = [
            call(Part::Database, What::Create),
            write(0, b"first"),
            sync(Part::Database),
            sync(Part::Folder),
        ];
        assert!(
            contents(&calls)
                .iter()
                .all(|it| it.as_deref() == Some(b"first"))
        );
    }

    #[test]
    fn what_is_not_synced_may_be_lost_or_torn() {
        let sync = |part| call(part, What::Sync);
        let calls = [
            call(Part::Database, What::Create),
            sync(Part::Folder),
            write(0, &[1; 1024]),
        ];
        let found = contents(&calls);
        let is = |wanted: &[u8]| found.iter().any(|it| it.as_deref() == Some(wanted));
        let torn = [vec![0; SECTOR], vec![1; SECTOR]].concat();
        assert!(is(b"") && is(&[1; 1024]) && is(&torn) && is(&[1; SECTOR]));
    }

    #[test]
    fn new_file_may_be_missing_until_its_folder_is_synced() {
        let calls = [
            call(Part::Database, What::Create),
            write(0, b"first"),
            call(Part::Database, What::Sync),
        ];
        let found = contents(&calls);
        assert!(found.contains(&None) && found.contains(&Some(b"first".to_vec())));
    }
}
