use poem::http::Method;
use serde_json::json;

use crate::ingest::agents::tests::{Sent, send};

async fn bulk(method: Method, path: &str, body: &[u8]) -> Sent {
    send(method, path, &[("content-type", "application/vnd.elasticsearch+x-ndjson; compatible-with=9")], body).await
}

#[tokio::test]
async fn documents_of_the_python_client_are_events() {
    let sent = bulk(Method::PUT, "/_bulk", include_bytes!("../../../../tests/recorded/bulk-python.ndjson")).await;
    assert_eq!((sent.status, sent.headers["x-elastic-product"].as_bytes()), (200, &b"Elasticsearch"[..]));
    let id = "00000000-0000-0000-0000-000000000007";
    let item = format!(r#"{{"create":{{"_index":"logs-check-default","_id":"{id}","status":201}}}}"#);
    let expected = format!(r#"{{"took":1,"errors":false,"items":[{item},{item},{item}]}}"#);
    assert_eq!(String::from_utf8_lossy(&sent.body), expected);
    assert_eq!(sent.all("level"), ["ERROR", "INFO", "WARN"]);
    let event = &sent.events[1];
    assert_eq!((&event["message"], &event["source"]), (&json!("check x elasticsearch-py info 0"), &json!("unknown")));
    assert_eq!(event["timestamp"], "2026-11-29T08:04:20Z");
    assert_eq!(event["metadata"], json!({ "_index": "logs-check-default", "order_id": 0 }));
}

#[tokio::test]
async fn action_lines_with_members_of_their_own_and_numbers_as_levels_are_understood() {
    let winston = include_bytes!("../../../../tests/recorded/bulk-winston.ndjson");
    let sent = bulk(Method::POST, "/_bulk?wait_for_active_shards=1&timeout=500ms", winston).await;
    assert_eq!((sent.status, sent.all("level")), (200, vec![&json!("ERROR"), &json!("WARN")]));
    let pino = include_bytes!("../../../../tests/recorded/bulk-pino.ndjson");
    let sent = bulk(Method::POST, "/_bulk", pino).await;
    assert_eq!((sent.status, sent.all("level")), (200, vec![&json!("ERROR"), &json!("INFO"), &json!("WARN")]));
    assert_eq!(sent.events[0]["message"], "check x pino-elasticsearch error 0");
}

#[tokio::test]
async fn ids_of_documents_are_ids_of_events_and_the_path_names_the_index() {
    let body = b"{\"index\":{\"_id\":\"0190163d-8694-739b-aea5-966c26f8ad91\"}}\n{\"message\":\"1\"}\n\
                 {\"create\":{\"_id\":\"a\",\"_index\":\"i\"}}\n{\"message\":\"2\"}\n\
                 {\"create\":{\"_id\":\"a\"}}\n{\"message\":\"3\"}";
    let sent = bulk(Method::POST, "/logs-app/_bulk", body).await;
    assert_eq!((sent.status, sent.events.len()), (200, 3));
    assert_eq!(sent.events[0]["eventId"], "0190163d-8694-739b-aea5-966c26f8ad91");
    assert_eq!(sent.events[0]["metadata"]["_index"], "logs-app");
    assert_ne!(sent.events[1]["eventId"], sent.events[2]["eventId"], "another index has other documents");
    let again = bulk(Method::POST, "/logs-app/_bulk", body).await;
    assert_eq!(again.all("eventId"), sent.all("eventId"));
    assert_eq!(sent.json()["items"][1]["create"]["_id"], "a");
}

#[tokio::test]
async fn an_action_that_is_not_supported_fails_alone_and_a_bad_document_is_text() {
    let body = b"{\"delete\":{\"_index\":\"i\",\"_id\":\"1\"}}\n{\"update\":{\"_id\":\"2\"}}\n{\"doc\":{}}\n\
                 {\"index\":{}}\n{\"message\":\n{\"create\":{\"_id\":9}}\n{\"message\":\"fine\"}\n";
    let sent = bulk(Method::POST, "/_bulk", body).await;
    let answer = sent.json();
    let statuses: Vec<_> = [("delete", 0), ("update", 1), ("index", 2), ("create", 3)]
        .map(|(kind, item)| answer["items"][item][kind]["status"].as_u64())
        .to_vec();
    assert_eq!((answer["errors"].as_bool(), statuses), (Some(true), vec![Some(400), Some(400), Some(201), Some(201)]));
    assert_eq!(sent.all("message"), ["{\"message\":", "fine"]);
    assert_eq!(sent.events[0]["metadata"]["ingest"]["reason"], "document_invalid");
}

#[tokio::test]
async fn a_body_without_order_is_refused_as_a_whole() {
    for body in ["", "\n", "{\"message\":1}\n", "{\"index\":{}}\n", "x\n", "{\"index\":1}\n{}\n"] {
        let sent = bulk(Method::POST, "/_bulk", body.as_bytes()).await;
        assert_eq!((sent.status, sent.events.len()), (400, 0), "{body:?}");
        assert_eq!(sent.json()["error"]["type"], "illegal_argument_exception", "{body:?}");
    }
}

#[tokio::test]
async fn what_clients_ask_first_is_answered() {
    for (method, path, member) in [
        (Method::GET, "/_license", "license"),
        (Method::GET, "/_cluster/health?timeout=30s", "status"),
        (Method::GET, "/_nodes/http", "nodes"),
        (Method::GET, "/", "version"),
        (Method::PUT, "/_ilm/policy/logs", "acknowledged"),
        (Method::PUT, "/_index_template/logs", "acknowledged"),
        (Method::GET, "/logs-check/_refresh", "_shards"),
        (Method::POST, "/logs-check/_refresh", "_shards"),
    ] {
        let sent = send(method, path, &[], b"").await;
        assert_eq!((sent.status, sent.headers["x-elastic-product"].as_bytes()), (200, &b"Elasticsearch"[..]), "{path}");
        assert!(!sent.json()[member].is_null(), "{path}");
    }
    for path in ["/_index_template/logs", "/_ilm/policy/logs", "/"] {
        assert_eq!(send(Method::HEAD, path, &[], b"").await.status, 200, "{path}");
    }
}
