//! The files for containers, as far as they can be tested without a container engine: the server starts with the
//! variables that they set, and writes only where they mount a volume.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;
use rustix::process::Signal;
use webhook_server::CommandLine;

use crate::support::files::Files;
use crate::support::process::webhook_server;

fn read(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(name)).unwrap()
}

/// The values of the lines that begin with `key`.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim);
    let values = lines.filter_map(|line| line.strip_prefix(key));
    values.map(str::trim).collect()
}

#[test]
fn dockerfile_has_a_volume_for_the_user_of_the_server() {
    let text = read("Dockerfile");
    assert_eq!(values(&text, "VOLUME "), ["/data"]);
    let user = values(&text, "USER ")[0];
    let copy = format!("--from=build --chown={user} /data /data");
    assert!(values(&text, "COPY ").contains(&copy.as_str()), "{copy}");
}

#[tokio::test]
async fn containers_keep_events_on_their_volume() {
    let dockerfile = read("Dockerfile");
    let compose = read("compose.sqlite.yaml");
    assert_eq!(values(&compose, "- webhook-data:"), ["/data"]);
    for (name, value) in [
        (
            "STATE_DIRECTORY",
            values(&dockerfile, "ENV STATE_DIRECTORY="),
        ),
        ("DATABASE_URL", values(&compose, "DATABASE_URL:")),
    ] {
        let [value] = value[..] else {
            panic!("{name} is set {} times", value.len());
        };
        let files = Files::new();
        let volume = files.path("data");
        std::fs::create_dir(&volume).unwrap();
        let root = files.path("root");
        std::fs::create_dir(&root).unwrap();
        let mut process = webhook_server(&["--role=all"])
            .on_default_backend()
            .env(name, &value.replace("/data", &volume))
            .in_directory(Path::new(&root))
            .start();
        let kept = process.logs("events are kept in an SQLite file").await;
        assert_eq!(kept["file"], format!("{volume}/webhook.db"), "{name}");
        process.listens().await;
        process.signal(Signal::TERM);
        assert_eq!(process.ends().await.code(), Some(0));
        let outside = std::fs::read_dir(&root).unwrap().count();
        assert_eq!(outside, 0, "it writes beside its volume");
    }
}

#[test]
fn deployed_variables_are_options_of_the_server() {
    let command = CommandLine::command();
    let options: BTreeSet<_> = command
        .get_arguments()
        .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .collect();
    let unit = read("deploy/systemd/webhook-server.service");
    let mut named: Vec<_> = values(&unit, "#Environment=")
        .into_iter()
        .filter_map(|it| it.split('=').next())
        .collect();
    assert_eq!(named.len(), 4);
    let manifests = ["api", "worker", "migrate", "configmap", "secrets.example"]
        .map(|name| read(&format!("deploy/kubernetes/{name}.yaml")));
    let is_variable = |name: &&str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    for manifest in &manifests {
        named.extend(values(manifest, "- name:").into_iter().filter(is_variable));
        let data = manifest
            .lines()
            .filter_map(|line| line.trim().split(':').next());
        named.extend(data.filter(is_variable));
    }
    for name in &named {
        assert!(options.contains(*name), "{name}");
    }
    assert!(named.len() > 12, "{named:?}");
}
