//! Unpacks a corpus for libFuzzer, and packs what libFuzzer found. `verification/fuzz/run` runs it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use fuzz::corpus;

/// Unpacks and packs the inputs of `corpus/`.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write all inputs of TARGET into FOLDER, a file each.
    Unpack { target: String, folder: PathBuf },
    /// Add FILES to the packed inputs of TARGET.
    Add { target: String, files: Vec<PathBuf> },
}

fn main() -> std::io::Result<()> {
    match Line::parse().command {
        Command::Unpack { target, folder } => corpus::unpack(&target, &folder),
        Command::Add { target, files } => corpus::add(&target, &files),
    }
}
