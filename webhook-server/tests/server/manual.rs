//! `completions` and `man`, and what else only prints.

use std::process::Stdio;

use crate::support::files::Files;
use crate::support::process::webhook_server;

#[tokio::test]
async fn each_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        // No configuration is read, however wrong it is.
        let (code, script, log) = webhook_server(&["completions", shell])
            .env("BIND_ADDR", "nowhere")
            .output()
            .await;
        assert_eq!((code, log.as_str()), (0, ""), "{shell}");
        for part in ["webhook-server", "requeue", "bind-addr"] {
            assert!(script.contains(part), "{shell}: {part} is missing");
        }
    }
}

#[tokio::test]
async fn manual_pages_are_written_for_every_command_without_values() {
    let files = Files::new();
    let folder = files.path("man1");
    let (code, out, log) = webhook_server(&["man", &folder])
        .env("WEBHOOK_SERVER_TOKEN", "wht_swordfish")
        .output()
        .await;
    assert_eq!((code, out.as_str(), log.as_str()), (0, "", ""));
    let mut pages = 0;
    for page in std::fs::read_dir(&folder).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains(".TH "), "{page:?}");
        assert!(!text.contains("swordfish"), "{page:?}");
        pages += 1;
    }
    assert!(pages > 20, "{pages}");
    let (_, help, _) = webhook_server(&["man"]).output().await;
    assert!(help.contains("DATABASE_URL"), "{help}");
    let pause = std::fs::read_to_string(format!("{folder}/webhook-server-pause.1")).unwrap();
    assert!(!pause.contains("DRAIN_SECONDS"), "{pause}");
}

#[tokio::test]
async fn a_closed_pipe_ends_commands_without_an_error() {
    for args in [&["completions", "bash"][..], &["man"]] {
        let mut command = webhook_server(args).into_command();
        command.stdout(Stdio::from(std::io::pipe().unwrap().1));
        let output = command.stderr(Stdio::piped()).output().await.unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), log.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}
