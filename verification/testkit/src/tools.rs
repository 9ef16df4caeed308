//! The programs that tests need, found or installed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// A script of the repository's folder `scripts`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../scripts")
        .join(name)
}

/// Where a tool is; `scripts/find-or-install` installs it where it is missing.
///
/// # Errors
///
/// When the script does not know the tool, or cannot install it.
pub async fn find_or_install(tool: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new(script("find-or-install"))
        .arg(tool)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{tool} is missing: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found = String::from_utf8(output.stdout).context("the path is not UTF-8")?;
    Ok(PathBuf::from(found.trim()))
}
