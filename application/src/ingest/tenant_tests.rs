//! Tests of what the requests of a tenant may write.

use domain::Uuid;
use domain::access::{Tenant, TenantId};
use domain::delivery::DeliveryPolicy;
use domain::event::{EventDraft, IdOrigin};
use domain::level::Level;

use super::tests::{draft, entry, ingest, publisher};
use super::{AGENT_RECORD_BYTES_MAX, AgentEntry, AgentStop, Members, PROMISE_TIMEOUT, RefusalReason};
use crate::codec;

fn shop() -> Tenant {
    Tenant { id: TenantId::of_name("shop"), sources: vec!["shop-*".parse().expect("a pattern")].into() }
}

#[tokio::test]
async fn a_tenant_may_write_its_own_sources_only_and_its_ids_are_its_own() {
    let (publisher, batches) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let tenant = shop();
    let mut intake = ingest.intake(None, None).of_tenant(Some(tenant.clone()));
    let with_id = |source| EventDraft {
        event_id: Some(Uuid::from_u128(1).to_string().into()),
        ..draft(source, Level::Error, "m")
    };
    for draft in [with_id("shop-1"), with_id("Shop-1"), with_id("other"), draft("shop-2", Level::Error, "m")] {
        intake.add(draft).expect("few events");
    }
    let outcome = intake.deliver().await;
    let refused: Vec<_> = outcome.refusals.iter().map(|refusal| (refusal.index, refusal.reason.code())).collect();
    assert_eq!(refused, [(1, "source_forbidden"), (2, "source_forbidden")]);
    assert!(outcome.refusals.iter().all(|refusal| !refusal.reason.is_retryable()));
    let batches = batches.lock().expect("lock");
    let origin = |record| codec::decode(record).expect("an event").id_origin;
    let origins: Vec<IdOrigin> = batches.iter().flat_map(|batch| batch.records.iter()).map(origin).collect();
    assert_eq!(origins, [IdOrigin::Tenant(tenant.id), IdOrigin::Generated]);
}

#[tokio::test]
async fn of_an_agent_s_request_a_tenant_s_own_sources_are_accepted_and_others_are_not() {
    let (publisher, batches) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let tenant = shop();
    let mut intake = ingest.agent_intake("otlp", None).of_tenant(Some(tenant.clone()));
    for source in ["shop-1", "other"] {
        assert!(intake.add(entry(source, Level::Error, "m"), None).is_ok());
    }
    let outcome = intake.deliver(PROMISE_TIMEOUT).await.expect("accepted");
    let refused: Vec<_> = outcome.refusals.iter().map(|refusal| (refusal.index, refusal.reason.code())).collect();
    assert_eq!((outcome.accepted.total(), refused), (1, vec![(1, "source_forbidden")]));
    assert_eq!(batches.lock().expect("lock").len(), 1);
    let mut intake = ingest.agent_intake("otlp", None).of_tenant(Some(tenant));
    assert!(intake.add(entry("other", Level::Error, "m"), None).is_ok());
    assert_eq!(intake.deliver(PROMISE_TIMEOUT).await, Err(RefusalReason::forbidden("other")));
}

#[tokio::test]
async fn entries_that_a_tenant_may_not_write_count_with_all_that_was_written_for_them() {
    let ingest = ingest(publisher().0, DeliveryPolicy::default());
    let tenant = shop();
    let mut intake = ingest.agent_intake("otlp", None).of_tenant(Some(tenant));
    let mut metadata = Members::default();
    metadata.text("resource", &"x".repeat(60_000));
    let forbidden = AgentEntry { metadata, ..entry("other", Level::Info, "m") };
    let bytes = forbidden.message.len() + forbidden.metadata.as_str().len();
    let taken = (0..2_000).take_while(|_| intake.add(forbidden.clone(), None).is_ok()).count();
    assert_eq!(taken, AGENT_RECORD_BYTES_MAX / bytes);
    assert_eq!(intake.add(forbidden, None), Err(AgentStop::TooLarge));
}
