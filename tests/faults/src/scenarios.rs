//! All scenarios, a row of the table each.
//!
//! To add one: a function over a [`Scene`] in one of the modules below, and an entry in [`all`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::ground::Ground;
use crate::report::Report;
use crate::scene::{Plan, Scene};

mod consumers;

/// What a scenario comes to.
type Outcome = Pin<Box<dyn Future<Output = Report> + Send>>;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is broken, for the table.
    pub fault: &'static str,
    /// It fails if it takes longer.
    pub deadline: Duration,
    run: fn(Arc<Ground>) -> Outcome,
}

impl Scenario {
    /// Runs it, mends the servers afterwards, and makes a failure of whatever stops it.
    pub async fn run(&self, ground: &Arc<Ground>) -> Report {
        // A task of its own: a panic ends the scenario, and nothing else.
        let mut task = tokio::spawn((self.run)(Arc::clone(ground)));
        let report = match tokio::time::timeout(self.deadline, &mut task).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => Report::failed(panic_message(error)),
            Err(_) => {
                task.abort();
                // Its processes end before the servers are mended.
                let _ = task.await;
                Report::failed(format!("it is over within {:?}", self.deadline))
            }
        };
        ground.mend().await;
        report
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was broken off".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it goes on: {}", text.unwrap_or("it panicked"))
}

/// Sets a scene that needs no small disk.
async fn scene(ground: &Arc<Ground>, plan: Plan) -> Scene {
    Scene::set(ground, plan).await.expect("a scene")
}

/// All scenarios, in the order of the table.
#[must_use]
pub fn all() -> Vec<Scenario> {
    const MINUTES: fn(u64) -> Duration = |minutes| Duration::from_secs(minutes * 60);
    macro_rules! scenario {
        ($name:literal, $fault:literal, $minutes:literal, $function:path) => {
            Scenario {
                name: $name,
                fault: $fault,
                deadline: MINUTES($minutes),
                run: |ground| Box::pin($function(ground)),
            }
        };
    }
    vec![scenario!("consumer-kill", "consumer kill -9, again and again", 3, consumers::killed_again_and_again)]
}

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

/// The value of a variable of the harness, or its default.
#[must_use]
pub(crate) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}
