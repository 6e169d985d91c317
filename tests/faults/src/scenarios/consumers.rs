//! What becomes of rows when consumers end, hang, come and go.

use std::sync::Arc;
use std::time::Duration;

use super::{scene, variable};
use crate::ground::Ground;
use crate::load::Load;
use crate::report::Report;
use crate::scene::{Plan, Role, go_on};

/// `FAULTS_KILLS` times, in the middle of its work.
pub async fn killed_again_and_again(ground: Arc<Ground>) -> Report {
    let kills = variable("FAULTS_KILLS", 5);
    let mut scene = scene(&ground, Plan { consumers: 2, ..Plan::default() }).await;
    let running = scene.load(Load::default());
    for kill in 0..kills {
        scene.until_stored(scene.stored().await + 2_000).await;
        let index = (kill % 2) as usize;
        scene.kill(Role::Consumer, index).await;
        go_on(&running, Duration::from_millis(500)).await;
        scene.start(Role::Consumer, index).await;
    }
    scene.fault_is_over();
    let mut report = scene.settle(running, 0).await;
    report.expect(report.calls_accepted == report.calls, "every call is answered 202");
    report.note(format!("kills={kills}"));
    scene.strike().await;
    report
}
