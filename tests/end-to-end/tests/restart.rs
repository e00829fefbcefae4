//! A process that is killed and started again on the same folder loses nothing and doubles nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use end_to_end::{ACME, Scene, acme, bill, message, per_bill};
use sandbox::queues::QueueName;
use sandbox::{Change, FaultKind, Message};
use serde_json::Value;

/// Moments of the handling at which it is killed.
const MOMENTS: u32 = 6;
const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";

#[tokio::test]
async fn what_waits_for_the_tick_survives() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::start_in(folder.path()).await.with(per_bill()).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    let mut scene = scene.restarted(folder.path()).await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.assert_run("june", "WAITING", "").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    scene.end().await;
}

#[tokio::test]
async fn an_entry_without_an_answer_is_sent_again_and_billed_once() {
    for kind in [FaultKind::LostAnswer, FaultKind::LostRequest] {
        let folder = tempfile::tempdir().unwrap();
        let mut scene = Scene::start_in(folder.path()).await.with(per_bill()).await;
        scene.metering_always_fails(kind);
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        let mut scene = scene.restarted(folder.path()).await;
        scene.until("2025-06-10T11:02:00Z").await;
        scene.assert_billed(&[acme(TEN, 10_103)]);
        scene.assert_run("june", "COMPLETE", "").await;
        scene.end().await;
    }
}

#[tokio::test]
async fn messages_on_the_queue_are_handled_after_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::start_in(folder.path()).await.with(per_bill()).await;
    let organization = scene.organization().to_owned();
    for (version, amount) in [(1, "101.03"), (2, "103.07")] {
        let body = message::updated(&organization, &bill("june", ACME, version).of(amount)).to_string();
        let message = Message::new(body, Default::default(), scene.sandbox.clock().now());
        scene.change(Change::MessageSent {
            queue: QueueName::Bills,
            message,
        });
    }
    // Nobody has looked at the queue yet: the process dies first.
    let mut scene = scene.restarted(folder.path()).await;
    assert_eq!(scene.organization(), organization);
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    scene.end().await;
}

/// A fresh scene in a folder, and m3ter's event of a bill for it.
async fn before_the_bill(folder: &Path) -> (Scene, Value) {
    let scene = Scene::start_in(folder).await.with(per_bill()).await;
    let event = message::updated(scene.organization(), &bill("june", ACME, 1).of("101.03"));
    (scene, event)
}

/// What handling the bill takes if nobody disturbs it. The first of a process takes longer, so there is a second.
async fn undisturbed() -> Duration {
    let mut took = Duration::MAX;
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let (scene, event) = before_the_bill(folder.path()).await;
        let begun = Instant::now();
        scene.sandbox.send(&event).await.unwrap();
        took = took.min(begun.elapsed());
        scene.end().await;
    }
    took
}

#[tokio::test]
async fn a_kill_at_any_moment_of_the_handling_loses_and_doubles_nothing() {
    let took = undisturbed().await;
    let mut met = 0;
    for moment in 1..=MOMENTS {
        let folder = tempfile::tempdir().unwrap();
        let (scene, event) = before_the_bill(folder.path()).await;
        let after = took * moment / (MOMENTS + 1);
        let handled = tokio::time::timeout(after, scene.sandbox.send(&event)).await;
        met += u32::from(handled.is_err());
        let mut scene = scene.restarted(folder.path()).await;
        scene.until("2025-06-10T11:02:00Z").await;
        scene.assert_billed(&[acme(TEN, 10_103)]);
        scene.end().await;
    }
    // The moments are shares of what an undisturbed handling took; on a machine that became faster meanwhile most may come too late.
    assert!(met > 0, "no kill met the handling");
}
