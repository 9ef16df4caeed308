use super::*;

fn read(url: &str) -> Result<PgOptions, PgError> {
    url.parse()
}

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
fn ssl_is_asyncpgs_name_for_sslmode() {
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
    assert!(refused("postgres://a@b/c?pooler=session").contains("`pooler` must be"));
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
        "sslmode=",
        "sslmode",
        "ssl=",
        "channel_binding=",
        "gssencmode=",
        "target_session_attrs=",
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
fn address_takes_precedence_over_the_host() {
    let in_environment = |asked: &str| (asked == "PGHOSTADDR").then(|| "192.0.2.1".to_owned());
    for url in [
        "postgresql://u@db/d?sslmode=require",
        "postgresql://u@/d?host=/run/x&sslmode=require",
        "postgresql:///d?sslmode=require",
    ] {
        let options = read_in(url, in_environment).unwrap();
        assert_eq!(options.connection.get_host(), "192.0.2.1", "{url}");
        assert_eq!(options.connection.get_socket(), None, "{url}");
        assert!(
            !matches!(options.connection.get_ssl_mode(), PgSslMode::Disable),
            "{url}"
        );
    }
    let url = "postgresql://u@db/d?hostaddr=192.0.2.2";
    let options = read_in(url, in_environment).unwrap();
    assert_eq!(options.connection.get_host(), "192.0.2.2");
    let error = read_in("postgresql://u@db/d?sslmode=verify-full", in_environment).unwrap_err();
    assert!(error.to_string().contains("PGHOSTADDR"), "{error}");
    let error = read_in("postgresql://u@db/d", |asked| {
        (asked == "PGHOSTADDR").then(|| "db2".to_owned())
    });
    assert!(error.unwrap_err().to_string().contains("hostaddr"));
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
fn passwords_may_be_unencoded() {
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
fn text_after_the_host_is_not_part_of_the_password() {
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
fn connect_timeout_is_bounded() {
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

/// Random passwords; each `seed` has its own. Words have none of these letters in a row, so that
/// four of them appear nowhere by chance. Other characters stand alone between letters.
fn random_password(seed: u64, others: &[char]) -> String {
    const LETTERS: &[u8] = b"GHJKMNPQRSTVWXZghjkmnpqrstvwxz";
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut password = String::new();
    for _ in 0..4 {
        for _ in 0..next(3) + 3 {
            password.push(char::from(LETTERS[next(LETTERS.len())]));
        }
        if !others.is_empty() {
            password.push(others[next(others.len())]);
        }
    }
    password
}

/// The four characters of `secret` that `text` shows.
fn shown_of(secret: &str, text: &str) -> Option<String> {
    let characters: Vec<char> = secret.chars().collect();
    let mut runs = characters.windows(4).map(String::from_iter);
    runs.find(|run| text.contains(run))
}

/// What is shown of an outcome, in every way.
fn told(outcome: &Result<PgOptions, PgError>) -> String {
    match outcome {
        Ok(options) => format!("{options:?} {options:#?}"),
        Err(error) => format!("{error} {error:?} {error:#?}"),
    }
}

#[test]
fn no_part_of_a_password_is_shown() {
    // `{}` is the password.
    const SURROUNDINGS: [&str; 37] = [
        "postgresql://app:{}@db/inbox",
        "postgresql://app:{}@db:5433/inbox?sslmode=require",
        "postgres://app:{}@/inbox?host=/run/x",
        "postgresql+psycopg2://app:{}@[::1]:5433/inbox",
        "postgresql://app@db/inbox?password={}",
        "postgresql://db/inbox?user=app&password={}&sslmode=require",
        "postgresql://app:{}@db:port/inbox",
        "postgresql://app:{}@db:0/inbox",
        "postgresql://app:{}@db:65536/inbox",
        "postgresql://app:{}@[::1/inbox",
        "postgresql://app:{}@h1,h2/inbox",
        "postgresql://app:{}@db/inbox#x",
        "postgresql://app:{}@db/in@box",
        "postgresql://app:{}@db/inbox?sslmode=off",
        "postgresql://app:{}@db/inbox?SSLMODE=require",
        "postgresql://app:{}@db/inbox?sslmod=require",
        "postgresql://app:{}@db/inbox?require_auth=md5",
        "postgresql://app:{}@db/inbox?hostaddr=db",
        "postgresql://app:{}@db/inbox?pooler=session",
        "postgresql://app:{}@db/inbox?durability=some",
        "postgresql://app:{}@db/inbox?schema=",
        "postgresql://app:{}@db/inbox?schema=Orders",
        "postgresql://app:{}@db/inbox?schema=pg_orders",
        "postgresql://app:{}@db/inbox?connect_timeout=soon",
        "postgresql://app:{}@db/inbox?sslmode=verify-ca",
        "postgresql://app:{}@db/inbox?application_name=%ff",
        "postgresql://app:{}@db/inbox?dbname=%00",
        "postgresql://app@db/inbox?password={}&sslmod=x",
        "postgresql://app@db/inbox?passwort={}&sslmode=off",
        "mysql://app:{}@db/inbox",
        "postgresql+odbc://app:{}@db/inbox",
        "postgresql:app:{}@db/inbox",
        "postgresql:/app:{}@db/inbox",
        "app:{}@db/inbox",
        "{}",
        "{}@db/inbox",
        "host=db user=app password={} dbname=inbox",
    ];
    let mut good = 0;
    for seed in 1..=60 {
        for others in [
            &[][..],
            &[
                '!', '$', '*', '~', '_', '-', '.', ';', '|', '^', '<', ' ', '"', '\'', '\\',
            ],
            &['@', '/', '?', '#', '%', ':', '&', '=', '[', ']', ',', '+'],
            &['ß', '\u{1f980}', '\u{0}', '\n', '\u{200b}'],
        ] {
            let password = random_password(seed, others);
            let encoded = utf8_percent_encode(&password, NON_ALPHANUMERIC).to_string();
            for surroundings in SURROUNDINGS {
                for written in [&password, &encoded] {
                    let outcome = read_in(&surroundings.replace("{}", written), |_| None);
                    good += usize::from(outcome.is_ok());
                    let told = told(&outcome);
                    for secret in [&password, &encoded] {
                        let shown = shown_of(secret, &told);
                        assert_eq!(shown, None, "{surroundings} {password:?}: {told}");
                    }
                }
            }
        }
    }
    // Both kinds of outcomes are looked at.
    assert!(good > 1_000, "{good}");
    let all = 60 * 4 * 2 * SURROUNDINGS.len();
    assert!(good < all / 2, "{good} of {all}");
}

#[test]
fn part_of_a_password_that_is_shown_is_found() {
    let password = random_password(1, &['@']);
    let part: String = password.chars().skip(5).take(4).collect();
    assert_eq!(shown_of(&password, &format!("xx{part}yy")), Some(part));
}
