"""The clients of Elasticsearch and OpenSearch, with their helper for bulk requests."""

from collections.abc import Iterator

from plan import SPAN_ID, TRACE_ID, Plan


def elasticsearch(plan: Plan) -> None:
    """elasticsearch-py."""
    from elasticsearch import Elasticsearch, helpers

    trust = {"ca_certs": plan.authority} if plan.authority else {}
    send(plan, Elasticsearch(plan.url, request_timeout=20, api_key=plan.key, **trust), helpers)


def opensearch(plan: Plan) -> None:
    """opensearch-py."""
    from opensearchpy import OpenSearch, helpers

    send(plan, OpenSearch(hosts=[plan.url], timeout=20, http_auth=plan.login, ca_certs=plan.authority), helpers)


def send(plan: Plan, client: object, helpers: object) -> None:
    """Sends every event in bulk requests of five."""
    delivered = 0
    try:
        # One by one, so that a later failure does not hide what was delivered before.
        for succeeded, item in helpers.streaming_bulk(
            client, actions(plan), chunk_size=5, raise_on_error=False, max_retries=3, initial_backoff=1
        ):
            delivered += succeeded
            if not succeeded:
                plan.failed(item)
    except Exception as error:
        plan.failed(repr(error))
    plan.report(delivered)


def actions(plan: Plan) -> Iterator[dict]:
    """Each event as an action of a bulk request, with the field names of the Elastic Common Schema."""
    for event in plan.events():
        document = {
            "_op_type": "create",
            "_index": "logs-clients-default",
            "@timestamp": event.rfc3339,
            "message": event.text,
            "log.level": event.level.lower(),
            "service": {"name": plan.source},
            "trace": {"id": TRACE_ID},
            "span": {"id": SPAN_ID},
            "order": event.number,
        }
        if event.last:
            document["error"] = {"type": "Failure", "stack_trace": "Failure: the disk of shard 7 is full\n\tat store"}
        yield document
