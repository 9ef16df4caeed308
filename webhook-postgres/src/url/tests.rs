use super::*;

fn refused(url: &str) -> String {
    read(url).unwrap_err().to_string()
}

#[test]
fn urls_of_sqlalchemy_are_read() {
    for scheme in [
        "postgresql",
        "postgres",
        "postgresql+psycopg2",
        "postgresql+psycopg",
        "postgresql+asyncpg",
    ] {
        let options = read(&format!("{scheme}://app:s%40cret@db:5433/inbox")).unwrap();
        assert_eq!(options.connection.get_host(), "db");
        assert_eq!(options.connection.get_port(), 5433);
        assert_eq!(options.connection.get_username(), "app");
        assert_eq!(options.connection.get_database(), Some("inbox"));
        assert_eq!(options.pooler, Pooler::Detect);
    }
}

#[test]
fn asyncpg_says_ssl() {
    for (value, mode) in [
        ("require", PgSslMode::Require),
        ("verify-full", PgSslMode::VerifyFull),
        ("true", PgSslMode::Require),
        ("false", PgSslMode::Disable),
    ] {
        let options = read(&format!("postgresql+asyncpg://a@b/c?ssl={value}")).unwrap();
        assert_eq!(
            format!("{:?}", options.connection.get_ssl_mode()),
            format!("{mode:?}")
        );
    }
}

#[test]
fn the_pooler_is_named_or_known_by_its_port() {
    let pooler = |url: &str| read(url).unwrap().pooler;
    assert_eq!(
        pooler("postgres://a@b/c?pooler=transaction"),
        Pooler::Transaction
    );
    assert_eq!(
        pooler("postgres://a@b/c?pgbouncer=true"),
        Pooler::Transaction
    );
    assert_eq!(pooler("postgres://a@b:6543/c"), Pooler::Transaction);
    assert_eq!(pooler("postgres://a@b:6543/c?pooler=none"), Pooler::None);
    assert_eq!(pooler("postgres://a@b/c?pgbouncer=false"), Pooler::Detect);
    assert!(refused("postgres://a@b/c?pooler=session").contains("`pooler` should be"));
}

fn mode(url: &str) -> String {
    let options = read_in(url, |_| None).unwrap();
    format!("{:?}", options.connection.get_ssl_mode())
}

#[test]
fn unknown_parameters_are_refused() {
    assert!(read("postgres://a@b/c?schema=public&keepalives=1").is_ok());
    assert!(refused("postgres://a@b/c?sslmod=require").contains("`sslmod` is unknown"));
    assert!(refused("postgres://a@b/c?SSLMODE=require").contains("lower case"));
    assert!(refused("postgres://a@b/c?sslmode=requir").contains("`require`"));
    let told = refused("postgres://a@b/c?password=x&hunter2=y");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn security_parameters_are_kept_or_refused() {
    for parameter in [
        "require_auth=scram-sha-256",
        "requirepeer=postgres",
        "gssencmode=require",
        "sslnegotiation=direct",
        "sslcertmode=require",
        "ssl_min_protocol_version=TLSv1.3",
        "ssl_max_protocol_version=TLSv1.1",
        "sslcrl=/x",
        "service=x",
        "passfile=/x",
        "target_session_attrs=standby",
        "sslmode=disable&channel_binding=require",
        "sslmode=verify-ca",
        "sslmode=require&sslrootcert=system",
        "host=/run/x&channel_binding=require",
    ] {
        let url = format!("postgres://a@b/c?{parameter}");
        assert!(read_in(&url, |_| None).is_err(), "{parameter}");
    }
    for (parameters, expected) in [
        // sqlx's `VerifyCa` would take any name from a public authority.
        ("sslmode=require&sslrootcert=/ca", "VerifyFull"),
        ("sslmode=verify-ca&sslrootcert=/ca", "VerifyFull"),
        ("sslmode=verify-full&host=/run/x", "Disable"),
        ("sslmode=require&channel_binding=require", "VerifyFull"),
        ("channel_binding=require", "VerifyFull"),
        ("channel_binding=prefer&sslmode=disable", "Disable"),
        ("sslrootcert=system", "VerifyFull"),
        ("gssencmode=prefer&sslmode=prefer", "Prefer"),
    ] {
        let url = format!("postgres://a@b/c?{parameters}");
        assert_eq!(mode(&url), expected, "{parameters}");
    }
}

#[test]
fn security_in_the_environment_is_kept_or_refused() {
    let with = |name: &'static str, value: &'static str, url: &str| {
        read_in(url, |asked| (asked == name).then(|| value.to_owned()))
    };
    for (name, value) in [
        ("PGSSLMODE", "requir"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGGSSENCMODE", "require"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGSERVICE", "x"),
        ("PGTARGETSESSIONATTRS", "standby"),
    ] {
        let error = with(name, value, "postgres://a@b/c")
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{error}");
    }
    let both = |asked: &str| match asked {
        "PGSSLROOTCERT" => Some("/ca".to_owned()),
        "PGSSLMODE" => Some("require".to_owned()),
        _ => None,
    };
    let options = read_in("postgres://a@b/c", both).unwrap();
    assert!(matches!(
        options.connection.get_ssl_mode(),
        PgSslMode::VerifyFull
    ));
    let options = with("PGCHANNELBINDING", "require", "postgres://a@b/c").unwrap();
    assert!(matches!(
        options.connection.get_ssl_mode(),
        PgSslMode::VerifyFull
    ));
    let url = "postgres://a@b/c?sslmode=disable";
    let options = with("PGSSLMODE", "require", url).unwrap();
    assert!(matches!(
        options.connection.get_ssl_mode(),
        PgSslMode::Disable
    ));
}

#[test]
fn addresses_mean_what_they_mean_to_libpq() {
    for (url, host, port) in [
        ("postgresql://u:p@[::1]:5433/d", "::1", 5433),
        ("postgresql://u:p@[fe80::1%25eth0]/d", "fe80::1%eth0", 5432),
        ("postgresql://u:p@db:/d", "db", 5432),
        ("postgresql://u:p@/d?host=/socket", "/socket", 5432),
        ("postgresql://u:p@%2Fsocket/d", "/socket", 5432),
        (
            "postgresql://?host=db&port=5433&user=u&dbname=d",
            "db",
            5433,
        ),
        (
            "postgresql://u:p@other:1/x?host=db&port=2&dbname=d",
            "db",
            2,
        ),
        (" \"postgres://u:p@db/d\"\r\n", "db", 5432),
        ("\u{feff}'postgres://u:p@db/d'", "db", 5432),
    ] {
        let options = read_in(url, |_| None).unwrap();
        let socket = options.connection.get_socket();
        let shown = socket.map_or(options.connection.get_host().to_owned(), |it| {
            it.display().to_string()
        });
        assert_eq!(
            (&*shown, options.connection.get_port()),
            (host, port),
            "{url}"
        );
        assert_eq!(options.connection.get_username(), "u", "{url}");
        assert_eq!(options.connection.get_database(), Some("d"), "{url}");
    }
    for url in [
        "postgresql://a@h1,h2/d",
        "postgresql://a@h1:1,h2:2/d",
        "postgresql://a@/d?host=h1,h2",
    ] {
        assert!(refused(url).contains("several hosts"), "{url}");
    }
    for url in [
        "host=db dbname=d",
        "mysql://a@db/d",
        "sqlite:x.db",
        "postgresql://a@[::1/d",
        "postgresql://a@db:0/d",
        "postgresql://a@db:65536/d",
        "postgresql://a@db/d?hostaddr=db",
    ] {
        assert!(read(url).is_err(), "{url}");
    }
}

#[test]
fn no_error_names_the_password() {
    for url in [
        "mysql://app:hunter2@db/inbox",
        "postgresql+odbc://app:hunter2@db/inbox",
        "postgresql://app:hunter2@db:port/inbox",
        "postgresql://app:hunter2@db/inbox#",
        "postgresql://app:hunter2@db/inbox?sslmode=off",
        "app:hunter2@db/inbox",
        "app:hunter2://@db/inbox",
        "postgresql+app:hunter2://@db/inbox",
        "postgresql://app:p@ss/hunter2@db/inbox",
        "postgresql://app:p@hunter2/ss@db/inbox",
        "postgresql://app:p@hunter2?ss@db/inbox",
        "postgresql://app:p@ss?sslhunter2=x@db/inbox",
    ] {
        let message = format!("{:?}", read(url).unwrap_err());
        assert!(!message.contains("hunter2"), "{message}");
    }
    let options = read("postgresql://app:hunter2@db/inbox").unwrap();
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[test]
fn passwords_are_taken_as_they_are() {
    for password in [
        "s?cret", "s/cret", "s#cret", "s@cret", "s%3Fcret", "s:cret", "s/c@ret", "1/2?cret",
    ] {
        let url = format!("postgresql://app:{password}@db:5433/inbox?pooler=none");
        let options = read(&url).unwrap();
        assert_eq!(options.connection.get_host(), "db", "{password}");
        assert_eq!(options.connection.get_port(), 5433, "{password}");
        assert_eq!(options.connection.get_username(), "app", "{password}");
        assert_eq!(options.pooler, Pooler::None, "{password}");
    }
    let options = read("postgresql://db/inbox?application_name=a@b").unwrap();
    assert_eq!(options.connection.get_host(), "db");
    assert_eq!(options.connection.get_application_name(), Some("a@b"));
}

#[test]
fn what_follows_a_host_is_no_password() {
    for address in ["[::1]", "[::1]:5432"] {
        let url = format!("postgresql://{address}/inbox?user=a@b");
        let options = read(&url).unwrap();
        assert_eq!(options.connection.get_host(), "::1", "{url}");
        assert_eq!(options.connection.get_username(), "a@b", "{url}");
    }
    let options = read("postgresql:///inbox?host=/run/a:b&user=a@b").unwrap();
    assert_eq!(options.connection.get_username(), "a@b");
    for unclear in [
        "postgresql://db:5432/inbox?user=a@b",
        "postgresql://db/in@box",
        "postgresql://db/inbox?us@er=a",
    ] {
        assert!(refused(unclear).contains("`%40`"), "{unclear}");
    }
    let options = read("postgresql://db:5432/inbox?user=a%40b").unwrap();
    assert_eq!(options.connection.get_username(), "a@b");
    assert_eq!(options.connection.get_host(), "db");
}

#[test]
fn database_names_are_no_paths() {
    for name in [".", "..", "a/../b", "/a.b"] {
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let options = read(&format!("postgresql://app@db/{encoded}")).unwrap();
        assert_eq!(options.connection.get_database(), Some(name));
    }
}

#[test]
fn no_part_holds_a_nul() {
    for url in ["postgresql://a%00b@db/c", "postgresql://a@db/c?dbname=x\0"] {
        assert!(refused(url).contains("NUL"), "{url:?}");
    }
}

#[test]
fn the_time_to_connect_is_bounded() {
    let timeout = |url: &str| read(url).unwrap().acquire_timeout;
    assert_eq!(
        timeout("postgres://a@b/c?connect_timeout=3"),
        Duration::from_secs(3)
    );
    assert_eq!(
        timeout("postgres://a@b/c?connect_timeout=0"),
        Duration::from_secs(5)
    );
}
