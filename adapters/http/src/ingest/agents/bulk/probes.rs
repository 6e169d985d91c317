//! What clients of Elasticsearch and OpenSearch ask before they send: answers that let them go on.
//!
//! Nothing behind these answers exists. Index templates, lifecycle policies and pipelines are accepted and ignored.

use super::PRODUCT;
use crate::ingest::agents::protocol::Fixed;

const fn fixed(body: &'static str) -> Fixed {
    Fixed { body, header: Some(PRODUCT) }
}

/// Nothing, for what is there to be asked for only.
pub static EMPTY: Fixed = fixed("{}");
/// What was put is accepted, and ignored.
pub static ACKNOWLEDGED: Fixed = fixed(r#"{"acknowledged":true}"#);
/// Logstash and Beats send to a server with an active licence only.
pub static LICENSE: Fixed = fixed(concat!(
    r#"{"license":{"uid":"spillway","type":"basic","status":"active","mode":"basic","#,
    r#""expiry_date_in_millis":4000000000000}}"#
));
/// The health of a cluster.
pub static HEALTH: Fixed = fixed(concat!(
    r#"{"cluster_name":"spillway","status":"green","timed_out":false,"number_of_nodes":1,"#,
    r#""number_of_data_nodes":1,"active_primary_shards":1,"active_shards":1,"relocating_shards":0,"#,
    r#""initializing_shards":0,"unassigned_shards":0,"number_of_pending_tasks":0,"#,
    r#""active_shards_percent_as_number":100.0}"#
));
/// The same as text, for those that look at its status code only.
pub static CAT_HEALTH: Fixed = fixed(r#"[{"cluster":"spillway","status":"green","node.total":"1","node.data":"1"}]"#);
/// The nodes: the client stays with the address that it has.
pub static NODES: Fixed =
    fixed(r#"{"_nodes":{"total":0,"successful":0,"failed":0},"cluster_name":"spillway","nodes":{}}"#);
/// An index was refreshed.
pub static REFRESHED: Fixed = fixed(r#"{"_shards":{"total":1,"successful":1,"failed":0}}"#);
