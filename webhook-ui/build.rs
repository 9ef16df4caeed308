//! Compresses the dashboard's style sheet, scripts and icon, which are in the crate's folder `assets`.

#[cfg(feature = "dashboard")]
fn main() -> std::io::Result<()> {
    use std::env::var_os;
    use std::fs;
    use std::io::{Error, Write};
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    let folder = |name: &str| {
        var_os(name)
            .map(PathBuf::from)
            .ok_or_else(|| Error::other(name.to_owned()))
    };
    let (from, to) = (
        folder("CARGO_MANIFEST_DIR")?.join("assets"),
        folder("OUT_DIR")?,
    );
    println!("cargo::rerun-if-changed=assets");
    for name in ["dashboard.css", "dashboard.js", "htmx.js", "icon.svg"] {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&fs::read(from.join(name))?)?;
        fs::write(to.join(format!("{name}.gz")), encoder.finish()?)?;
    }
    Ok(())
}

#[cfg(not(feature = "dashboard"))]
fn main() {}
