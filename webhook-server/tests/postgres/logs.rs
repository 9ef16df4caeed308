//! No request and no command logs a secret.

use std::time::Duration;

use webhook_core::{Envelope, Headers, NewEvent, Store};
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;
use webhook_server::transaction::Transaction;

use crate::node::server_on;
use crate::support::{suite, transaction};

#[tokio::test]
async fn no_request_or_command_logs_a_secret() {
    let database = TestDatabase::create().await;
    let (code, _, log) = server_on(database.url(), &["migrate", "--log-level=trace"])
        .output()
        .await;
    assert_eq!(code, 0, "{log}");

    // Cannot be read any more, so that its handler fails.
    let store = PgStore::connect(database.url()).await.unwrap();
    let mut envelope =
        Envelope::of::<Transaction>(transaction("spoilt").into(), Headers::new()).unwrap();
    envelope.body = transaction("spoilt").replace('}', "").into();
    let event = NewEvent::new(envelope, Duration::ZERO);
    store.accept(&[event]).await.unwrap();

    let args = ["--processing-delay-seconds=0", "--max-attempts=1"];
    let (scheme, secret) = suite::SCHEMES[0];
    suite::run(server_on(database.url(), &args), scheme, secret).await;

    for command in [
        &["status"][..],
        &["list", "--state=failed"],
        &["list", "--state=processed", "--json"],
        &["show", "tx-1"],
        &["show", "spoilt"],
        &["requeue", "spoilt"],
        &["requeue", "--all-failed"],
        &["prune", "--older-than=0s"],
    ] {
        let args = [command, &["--log-level=trace"]].concat();
        let (code, _, log) = server_on(database.url(), &args).output().await;
        assert_eq!(code, 0, "{args:?}: {log}");
        assert!(log.contains(" DEBUG "), "{args:?}: {log}");
    }
    store.close().await;
    database.drop_database().await;
}
