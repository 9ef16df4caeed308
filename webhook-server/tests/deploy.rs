//! The files in `deploy/`, and the scripts for shells, as the programs that read them judge them.
//!
//! Where such a program is missing, its test is ignored, with the reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// The exposure that `systemd-analyze security` may find, of 100.
const MAX_EXPOSURE: u32 = 15;

fn main() -> ExitCode {
    let trials = vec![
        trial("systemd_unit_is_valid", "systemd-analyze", |program| {
            let unit = unit("valid");
            let verified = run(program, &["verify", &unit.to_string_lossy()])?;
            // It goes on after what it does not know.
            match String::from_utf8_lossy(&verified.stderr).as_ref() {
                "" => Ok(Completion::Completed),
                complaint => Err(complaint.into()),
            }
        }),
        trial("systemd_unit_is_hardened", "systemd-analyze", |program| {
            let version = run(program, &["--version"])?;
            let version = String::from_utf8_lossy(&version.stdout).into_owned();
            let number = version.split(' ').nth(1).and_then(|it| it.parse().ok());
            if number.is_none_or(|number: u32| number < 250) {
                return Ok(Completion::ignored_with("systemd is older than 250"));
            }
            let threshold = format!("--threshold={MAX_EXPOSURE}");
            let unit = unit("hardened");
            let unit = unit.to_string_lossy();
            run(program, &["security", "--offline=true", &threshold, &unit])?;
            Ok(Completion::Completed)
        }),
        trial("kubernetes_manifests_render", "kubectl", |program| {
            let rendered = run(
                program,
                &["kustomize", &deploy("kubernetes").to_string_lossy()],
            )?;
            kubernetes(&String::from_utf8_lossy(&rendered.stdout));
            Ok(Completion::Completed)
        }),
        trial(
            "kubernetes_component_of_metrics_renders",
            "kubectl",
            |program| {
                let overlay = folder().join("with-metrics");
                for part in ["", "metrics"] {
                    let copy = overlay.join("base").join(part);
                    std::fs::create_dir_all(&copy)?;
                    for file in std::fs::read_dir(deploy("kubernetes").join(part))? {
                        let file = file?;
                        if file.file_type()?.is_file() {
                            std::fs::copy(file.path(), copy.join(file.file_name()))?;
                        }
                    }
                }
                let kustomization = "resources: [base]\ncomponents: [base/metrics]\n";
                std::fs::write(overlay.join("kustomization.yaml"), kustomization)?;
                let rendered = run(program, &["kustomize", &overlay.to_string_lossy()])?;
                let rendered = String::from_utf8_lossy(&rendered.stdout);
                for (part, times) in [
                    ("- name: METRICS_ADDR\n          value: 0.0.0.0:9464\n", 2),
                    ("- containerPort: 9464\n          name: metrics\n", 2),
                    ("\nkind: ServiceMonitor\n", 1),
                    ("\nkind: PrometheusRule\n", 1),
                    ("alert: StoreDown\n", 1),
                ] {
                    assert_eq!(rendered.matches(part).count(), times, "{part}: {rendered}");
                }
                Ok(Completion::Completed)
            },
        ),
        trial("bash_reads_its_completions", "bash", |program| {
            let script = folder().join("completions.bash");
            let completions = run(
                env!("CARGO_BIN_EXE_webhook-server"),
                &["completions", "bash"],
            )?;
            std::fs::write(&script, &completions.stdout)?;
            run(program, &["-n", &script.to_string_lossy()])?;
            let text = String::from_utf8_lossy(&completions.stdout);
            let (_, function) = text.split_once("complete -F ").ok_or("no completion")?;
            let function = function.split(' ').next().unwrap_or_default();
            // What the user has typed is `webhook-server pau`.
            let line = format!(
                ". {} && COMP_WORDS=(webhook-server pau) COMP_CWORD=1 && {function} webhook-server pau \
                 webhook-server && echo \"${{COMPREPLY[@]}}\"",
                script.display()
            );
            let completed = run(program, &["--noprofile", "--norc", "-c", &line])?;
            let completed = String::from_utf8_lossy(&completed.stdout).into_owned();
            assert_eq!(completed.trim(), "pause");
            Ok(Completion::Completed)
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test that is ignored where `program` is missing.
fn trial(
    name: &str,
    program: &'static str,
    test: impl FnOnce(&str) -> Result<Completion, Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        match Command::new(program).arg("--help").output() {
            Ok(_) => test(program),
            Err(error) => Ok(Completion::ignored_with(format!("no {program}: {error}"))),
        }
    })
}

/// Runs `program` to its end, which must be a success.
fn run(program: &str, args: &[&str]) -> Result<Output, Failed> {
    let output = Command::new(program).args(args).output()?;
    if output.status.success() {
        return Ok(output);
    }
    let log = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy);
    Err(format!(
        "{program} {args:?}: {}\n{}{}",
        output.status, log[0], log[1]
    )
    .into())
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The unit with a program that is there.
fn unit(name: &str) -> PathBuf {
    let text = std::fs::read_to_string(deploy("systemd/webhook-server.service")).unwrap();
    let start = "ExecStart=/usr/local/bin/webhook-server";
    assert!(text.contains(start));
    let folder = folder().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("webhook-server.service");
    std::fs::write(&file, text.replace(start, "ExecStart=/bin/true")).unwrap();
    file
}

/// Each pod is restricted, each server has its probes, and the selectors find their pods.
fn kubernetes(rendered: &str) {
    let of_kind = |kind: &str| {
        let documents = rendered.split("\n---\n");
        let line = format!("kind: {kind}");
        let found: Vec<_> = documents
            .filter(|it| it.lines().any(|it| it == line))
            .collect();
        found
    };
    let lines = |text: &str, part: &str| text.lines().filter(|line| line.trim() == part).count();
    let deployments = of_kind("Deployment");
    let pods = [deployments.clone(), of_kind("Job")].concat();
    assert_eq!((deployments.len(), pods.len()), (2, 3));
    for pod in pods {
        for line in [
            "runAsNonRoot: true",
            "readOnlyRootFilesystem: true",
            "allowPrivilegeEscalation: false",
            "automountServiceAccountToken: false",
            "type: RuntimeDefault",
            "- ALL",
        ] {
            assert_eq!(lines(pod, line), 1, "{line}: {pod}");
        }
    }
    for (deployment, role) in deployments.iter().zip(["api", "worker"]) {
        for line in [
            "path: /readyz",
            "livenessProbe:",
            "readinessProbe:",
            "startupProbe:",
            "terminationGracePeriodSeconds: 40",
        ] {
            assert_eq!(lines(deployment, line), 1, "{line}: {deployment}");
        }
        let role_is_set = format!("- name: ROLE\n          value: {role}\n");
        assert!(deployment.contains(&role_is_set), "{deployment}");
        let component = format!("app.kubernetes.io/component: {role}");
        assert!(lines(deployment, &component) >= 2, "{deployment}");
        for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
            let selecting = of_kind(kind);
            let of_role = selecting.iter().filter(|it| lines(it, &component) > 0);
            assert_eq!(of_role.count(), 1, "{kind} of {role}");
        }
    }
    assert!(of_kind("Secret").is_empty(), "secrets are no manifests");
}
