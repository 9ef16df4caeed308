//! A destination that answers 410 is paused.

use webhook_core::{MockAdmin, StoreError};
use webhook_forward::DestinationState;

use super::receiver::{Receiver, answer};
use super::*;

#[tokio::test]
async fn gone_pauses_the_kind_until_it_is_resumed() {
    let receiver = Receiver::new(|number, _| answer(if number == 0 { 410 } else { 200 })).await;
    let inbox = Inbox::new(destination(&receiver));
    inbox.accept(&["evt_1", "evt_2", "evt_3"]).await;
    wait_until("pause", async || {
        let paused = inbox.store.paused().await.unwrap();
        (paused == [KIND] && inbox.forwarder.status().in_flight == 0).then_some(())
    })
    .await;
    assert_eq!(inbox.forwarder.status().state, DestinationState::Paused);
    // The event has its attempt back, and whatever time passes, none is forwarded.
    inbox
        .until("postponement", |counts| counts.leased == 0)
        .await;
    assert_eq!(inbox.find("evt_1").await.attempts, 0);
    pass(Duration::from_secs(3_600)).await;
    inbox.until("due events", |counts| counts.due == 3).await;
    assert_eq!(receiver.keys(), ["evt_1"]);
    inbox.store.resume(&KIND).await.unwrap();
    inbox
        .until("delivery", |counts| counts.processed == 3)
        .await;
    assert_eq!(inbox.forwarder.status().state, DestinationState::Closed);
    let got = receiver.got();
    assert!(
        got.iter()
            .all(|got| got.header("inbox-attempt") == Some("1/13"))
    );
    assert_eq!(inbox.forwarder.status().failed, 0);
}

#[tokio::test]
async fn a_pause_is_stored_again_and_again_until_it_is() {
    let receiver = Receiver::of(410).await;
    let mut admin = MockAdmin::new();
    let mut failures = 2;
    let (stored, mut is_stored) = tokio::sync::watch::channel(false);
    admin.expect_pause().returning(move |kind| {
        assert_eq!(*kind, KIND);
        if failures == 0 {
            stored.send_replace(true);
            return Ok(true);
        }
        failures -= 1;
        Err(StoreError::unavailable(std::io::Error::other("no luck")))
    });
    let forwarder = Forwarder::new(destination(&receiver)).unwrap();
    let forwarder = forwarder.with_admin(Arc::new(admin));
    let event = || webhook_core::Event::raw(KIND, "{}");
    let limit = webhook_core::Handler::claim_limit(&forwarder).unwrap();
    for _ in 0..3 {
        let error = webhook_core::Handler::handle(&forwarder, event())
            .await
            .unwrap_err();
        assert!(error.is_postponement());
        assert_eq!(limit.allowance(0), 0);
    }
    assert_eq!(receiver.got().len(), 1);
    is_stored.wait_for(|is_stored| *is_stored).await.unwrap();
    wait_until("stored pause", async || {
        (limit.allowance(0) > 0).then_some(())
    })
    .await;
    assert_eq!(forwarder.status().state, DestinationState::Paused);
}
