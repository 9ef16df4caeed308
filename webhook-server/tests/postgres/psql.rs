//! The server reads the parameters of a connection as `psql` does.
//!
//! Where `psql` connects, the server connects or refuses a parameter by its name; where `psql` does
//! not, neither does the server. Each difference has its reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::postgres::OwnServer;
use testkit::tools::script;
use webhook_postgres::sqlx::{self, Connection, PgConnection};
use webhook_postgres::testing::TestDatabase;

use crate::support::files::Files;
use crate::support::process::webhook_server;

/// The expected results of `psql` and of the server.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Both connect.
    Connect,
    /// Neither does.
    Fail,
    /// The server ends with an error that holds this text, such as the parameter's name, whatever
    /// `psql` does.
    Refuse {
        shown: &'static str,
        reason: &'static str,
    },
    /// The server connects, and `psql` does not.
    ConnectAlone { reason: &'static str },
}

use Expected::{Connect, ConnectAlone, Fail};

const fn refuse(shown: &'static str, reason: &'static str) -> Expected {
    Expected::Refuse { shown, reason }
}

struct Case {
    url: String,
    variables: &'static [(&'static str, &'static str)],
    expected: Expected,
}

/// The two programs, with no home folder whose files they could read.
struct Programs {
    psql: PathBuf,
    home: String,
}

impl Programs {
    fn new(files: &Files) -> Self {
        // Not that of PATH, which on Debian is a script that sets variables of its own.
        let found = Command::new(script("find-or-install"))
            .arg("postgres")
            .output()
            .unwrap();
        assert!(found.status.success(), "{found:?}");
        let folder = String::from_utf8(found.stdout).unwrap();
        Self {
            psql: Path::new(folder.trim()).join("psql"),
            home: files.path(""),
        }
    }

    /// Whether `psql` connects, and what it says.
    fn psql(&self, case: &Case) -> (bool, String) {
        let mut command = Command::new(&self.psql);
        command
            .args(["--no-psqlrc", "--no-password", "--command", "SELECT 1"])
            .args(["--dbname", &case.url])
            .env_clear()
            .env("HOME", &self.home)
            .envs(case.variables.iter().copied())
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), told)
    }

    /// Whether the server connects, and what it says.
    async fn server(&self, case: &Case) -> (bool, String) {
        let mut starter = webhook_server(&["migrate", "--database-wait-seconds=0"])
            .env("DATABASE_URL", &case.url)
            .env("HOME", &self.home);
        for (name, value) in case.variables {
            starter = starter.env(name, value);
        }
        let (code, _, log) = starter.output().await;
        (code == 0, log)
    }

    async fn check(&self, cases: &[Case]) {
        for case in cases {
            let Case {
                url,
                variables,
                expected,
            } = case;
            let (psql_connects, psql) = self.psql(case);
            let (server_connects, log) = self.server(case).await;
            let what = format!(
                "{url} {variables:?}\n{expected:?}\npsql: {psql_connects} {psql}\n\
                 server: {server_connects} {log}"
            );
            match expected {
                Connect => assert!(psql_connects && server_connects, "{what}"),
                Fail => assert!(!psql_connects && !server_connects, "{what}"),
                ConnectAlone { reason } => {
                    assert!(!psql_connects && server_connects, "{what}");
                    assert!(!reason.is_empty());
                }
                Expected::Refuse { shown, reason } => {
                    assert!(!server_connects && log.contains(shown), "{what}");
                    assert!(!reason.is_empty());
                }
            }
        }
    }
}

const BY_VERIFIED_TLS: &str = "what it protects from is excluded by sslmode=verify-full";
const NOT_IN_SQLX: &str = "sqlx cannot keep it";
const ONE_HOST: &str = "a failover between hosts is left to a proxy";

#[tokio::test]
async fn server_without_tls_is_reached_as_by_psql() {
    let files = Files::new();
    let programs = Programs::new(&files);
    let own = OwnServer::start(&["listen_addresses=127.0.0.1, ::1"]).await;
    let mut connection = PgConnection::connect(own.url()).await.unwrap();
    let socket: String = sqlx::query_scalar("SHOW unix_socket_directories")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let (start, end) = own.url().split_once('@').unwrap();
    let (_, port) = end.split('/').next().unwrap().split_once(':').unwrap();
    let password = start.rsplit(':').next().unwrap();
    let password_file = files.write("passwords", format!("*:*:*:*:{password}\n"));
    set_mode(&password_file, 0o600);
    let missing = files.path("missing.crt");

    let with = |query: &str| format!("{}?{query}", own.url());
    let at = |authority: &str, query: &str| {
        let authority = authority.replace("PORT", port);
        let query = query.replace("SOCKET", &socket).replace("PORT", port);
        format!("{start}@{authority}/postgres?{query}")
    };
    let case = |url: String, expected| Case {
        url,
        variables: &[],
        expected,
    };
    let in_environment = |url: String, variables, expected| Case {
        url,
        variables,
        expected,
    };
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let mut cases = Vec::new();
    for (query, expected) in [
        ("sslmode=disable", Connect),
        ("sslmode=allow", Connect),
        ("sslmode=prefer", Connect),
        ("sslmode=", Fail),
        ("channel_binding=", Fail),
        ("gssencmode=", Fail),
        ("target_session_attrs=", Fail),
        ("sslrootcert=&sslsni=&client_encoding=&hostaddr=", Connect),
        ("sslmode=require", Fail),
        ("sslmode=verify-ca", Fail),
        ("sslmode=verify-full", Fail),
        ("sslmode=no-such-mode", Fail),
        ("channel_binding=disable", Connect),
        ("channel_binding=prefer", Connect),
        ("channel_binding=require", Fail),
        ("gssencmode=disable", Connect),
        ("gssencmode=prefer", Connect),
        ("gssencmode=require", Fail),
        (
            "require_auth=password",
            refuse("`require_auth`", NOT_IN_SQLX),
        ),
        ("require_auth=none", refuse("`require_auth`", NOT_IN_SQLX)),
        (
            "sslrootcert=system",
            refuse(
                "server does not support TLS",
                "as in libpq 16 and later, which verify then",
            ),
        ),
        ("requirepeer=nobody", refuse("`requirepeer`", NOT_IN_SQLX)),
        ("target_session_attrs=any", Connect),
        ("target_session_attrs=read-write", Connect),
        ("target_session_attrs=primary", Connect),
        ("target_session_attrs=standby", Fail),
        ("target_session_attrs=read-only", Fail),
        (
            "target_session_attrs=prefer-standby",
            refuse("`target_session_attrs`", "the server writes"),
        ),
        (
            "application_name=inbox&fallback_application_name=x&connect_timeout=9",
            Connect,
        ),
        ("options=-c%20geqo%3Doff", Connect),
        ("keepalives=0&tcp_user_timeout=1000", Connect),
        ("client_encoding=UTF8", Connect),
        (
            "client_encoding=LATIN1",
            refuse("`client_encoding`", "ids and bodies are UTF-8"),
        ),
        ("no_such_parameter=1", Fail),
        ("SSLMODE=disable", Fail),
        ("service=none", Fail),
        ("dbname=no_such_database", Fail),
        ("password=wrong", Fail),
    ] {
        cases.push(case(with(query), expected));
    }
    let missing_authority = format!("sslmode=verify-full&sslrootcert={missing}");
    cases.push(case(with(&missing_authority), Fail));
    let unused = format!("sslmode=prefer&sslrootcert={missing}");
    cases.push(case(with(&unused), Connect));
    for (authority, query, expected) in [
        ("127.0.0.1:PORT", "", Connect),
        ("localhost:PORT", "", Connect),
        ("[::1]:PORT", "", if has_ipv6 { Connect } else { Fail }),
        ("[::1", "port=PORT", Fail),
        ("127.0.0.1:", "port=PORT", Connect),
        ("127.0.0.2:PORT", "", Fail),
        ("127.0.0.1:0", "", Fail),
        ("127.0.0.1:65536", "", Fail),
        ("127.0.0.1:x", "", Fail),
        (":PORT", "host=127.0.0.1", Connect),
        ("127.0.0.2:1", "host=127.0.0.1&port=PORT", Connect),
        ("", "host=SOCKET&port=PORT", Connect),
        ("", "host=SOCKET&port=PORT&sslmode=require", Connect),
        ("", "host=/no/such/folder&port=PORT", Fail),
        ("127.0.0.2:PORT", "hostaddr=127.0.0.1", Connect),
        (
            "",
            "host=/no/such/folder&hostaddr=127.0.0.1&port=PORT",
            Connect,
        ),
        ("127.0.0.1:PORT", "hostaddr=127.0.0.2", Fail),
        ("127.0.0.1:PORT", "hostaddr=localhost", Fail),
        (
            "127.0.0.1:PORT,127.0.0.1:PORT",
            "",
            refuse("several hosts", ONE_HOST),
        ),
        (
            "",
            "host=127.0.0.1,127.0.0.1&port=PORT",
            refuse("several hosts", ONE_HOST),
        ),
        ("127.0.0.1", "port=PORT,PORT", Fail),
    ] {
        cases.push(case(at(authority, query), expected));
    }
    cases.push(case(at(&socket.replace('/', "%2F"), "port=PORT"), Connect));
    let elsewhere = || at("127.0.0.2:PORT", "");
    for (url, variables, expected) in [
        (elsewhere(), &[("PGHOSTADDR", "127.0.0.1")][..], Connect),
        (elsewhere(), &[("PGHOST", "127.0.0.1")], Fail),
        (at(":PORT", ""), &[("PGHOST", "127.0.0.1")], Connect),
        (
            at(":PORT", ""),
            &[("PGHOST", "127.0.0.2"), ("PGHOSTADDR", "127.0.0.1")],
            Connect,
        ),
        (own.url().to_owned(), &[("PGHOSTADDR", "127.0.0.2")], Fail),
        (own.url().to_owned(), &[("PGSSLMODE", "require")], Fail),
        (
            with("sslmode=disable"),
            &[("PGSSLMODE", "require")],
            Connect,
        ),
        (
            own.url().to_owned(),
            &[("PGCHANNELBINDING", "require")],
            Fail,
        ),
        (own.url().to_owned(), &[("PGGSSENCMODE", "require")], Fail),
        (
            own.url().to_owned(),
            &[("PGGSSENCMODE", "disable")],
            Connect,
        ),
        (
            own.url().to_owned(),
            &[("PGTARGETSESSIONATTRS", "standby")],
            Fail,
        ),
        (own.url().to_owned(), &[("PGSERVICE", "none")], Fail),
        (
            own.url().to_owned(),
            &[("PGREQUIREAUTH", "password")],
            refuse("`PGREQUIREAUTH`", NOT_IN_SQLX),
        ),
        (
            own.url().to_owned(),
            &[
                ("PGPASSWORD", "wrong"),
                ("PGUSER", "nobody"),
                ("PGDATABASE", "none"),
            ],
            Connect,
        ),
    ] {
        cases.push(in_environment(url, variables, expected));
    }
    let by_file =
        format!("postgresql://webhook@127.0.0.1:{port}/postgres?passfile={password_file}");
    cases.push(case(by_file, refuse("`passfile`", NOT_IN_SQLX)));
    programs.check(&cases).await;
}

#[tokio::test]
async fn server_with_tls_is_reached_as_by_psql() {
    let authority = std::env::var("TEST_DATABASE_CA")
        .expect("TEST_DATABASE_CA names no certificate: run the tests by scripts/test");
    let files = Files::new();
    let programs = Programs::new(&files);
    let other = crate::support::tls::Authority::new();
    let other = files.write("other.crt", other.issue().cert);
    let missing = files.path("missing.crt");
    let database = TestDatabase::create().await;
    let base = database.url().split('?').next().unwrap();
    let mut cases = Vec::new();
    for (query, expected) in [
        ("sslmode=disable", Connect),
        ("sslmode=allow", Connect),
        ("sslmode=prefer", Connect),
        ("sslmode=require", Connect),
        ("sslmode=require&sslrootcert=CA", Connect),
        ("sslmode=require&sslrootcert=OTHER", Fail),
        (
            "sslmode=require&sslrootcert=MISSING",
            refuse(
                "`sslrootcert`",
                "a name that promises verification is not ignored",
            ),
        ),
        ("sslmode=verify-ca&sslrootcert=CA", Connect),
        ("sslmode=verify-ca&sslrootcert=OTHER", Fail),
        ("sslmode=verify-ca", Fail),
        ("sslmode=verify-full&sslrootcert=CA", Connect),
        ("sslmode=verify-full&sslrootcert=OTHER", Fail),
        ("sslmode=verify-full&sslrootcert=MISSING", Fail),
        ("sslmode=verify-full", Fail),
        ("sslmode=verify-full&sslrootcert=CA&host=localhost", Connect),
        (
            "sslmode=verify-full&sslrootcert=CA&host=localhost&hostaddr=127.0.0.1",
            refuse("`hostaddr`", NOT_IN_SQLX),
        ),
        (
            "sslmode=verify-full&sslrootcert=CA&host=elsewhere&hostaddr=127.0.0.1",
            Fail,
        ),
        ("sslmode=require&channel_binding=require", Fail),
        (
            "sslmode=require&channel_binding=require&sslrootcert=CA",
            ConnectAlone {
                reason: BY_VERIFIED_TLS,
            },
        ),
        ("sslmode=require&ssl_min_protocol_version=TLSv1.2", Connect),
        (
            "sslmode=require&ssl_min_protocol_version=TLSv1.3",
            refuse("`ssl_min_protocol_version`", NOT_IN_SQLX),
        ),
        ("sslmode=require&ssl_max_protocol_version=TLSv1.3", Connect),
        (
            "sslmode=require&ssl_max_protocol_version=TLSv1.2",
            refuse("`ssl_max_protocol_version`", NOT_IN_SQLX),
        ),
        ("sslmode=require&sslsni=1", Connect),
        ("sslmode=require&sslsni=0", refuse("`sslsni`", NOT_IN_SQLX)),
        (
            "sslmode=require&sslcrl=MISSING",
            refuse("`sslcrl`", NOT_IN_SQLX),
        ),
        (
            "sslmode=require&sslcert=MISSING&sslkey=MISSING",
            refuse(
                "`sslcert`",
                "a certificate that is named is shown, or the start ends",
            ),
        ),
    ] {
        let query = query
            .replace("CA", &authority)
            .replace("OTHER", &other)
            .replace("MISSING", &missing);
        cases.push(Case {
            url: format!("{base}?{query}"),
            variables: &[],
            expected,
        });
    }
    programs.check(&cases).await;
    database.drop_database().await;
}

fn set_mode(file: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}
