"""All failures that the schemathesis run ignores, each with its reason.

Nothing else in this directory disables a check, an operation or a case.
"""

from collections.abc import Iterator

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData

# A request that matches the schema may still be refused (check positive_data_acceptance) by a rule that JSON Schema
# cannot express. Such rules are identified by their `code`; rules for parameters share one, and are identified by
# their `detail`.
QUERY_RULES = {
    "query_invalid": "the query language has a grammar",
}
EVENT_RULES = {
    "metadata_duplicate_name": "no object in `metadata` may have two members of one name, which JSON Schema cannot express",
    "metadata_clash": "no unknown field may have the name of a member of `metadata`: a rule between two objects",
    "source_length": "255 bytes, while maxLength counts characters",
}
LEVEL = "must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL; WARN+ also means all above, and commas separate several"
TIME = "must be a time such as 2024-01-15T10:30:00Z, 2024-01-15, 1705314600 (seconds), now-15m or -1h"
ZONED_TIME = "must be a time with its zone, such as 2024-01-15T10:30:00Z or 2024-01-15T11:30:00+01:00"
FIELD = "must be level, source, traceId or a name in metadata"
PARAMETER_RULES = {
    f"from {TIME}": "one of several forms of a time, within the years 0000 to 9999",
    f"to {TIME}": "one of several forms of a time, within the years 0000 to 9999",
    f"from {ZONED_TIME}": "the same rule",
    f"to {ZONED_TIME}": "the same rule",
    "from must not be after to": "a rule between two parameters",
    "from must be before to": "a rule between two parameters",
    f"level {LEVEL}": "a list within a text",
    "q must have 1 to 1024 bytes": "bytes, while maxLength counts characters",
    f"by: {FIELD}": "not every field can be counted by; a name in metadata has at most 256 bytes and 16 parts",
    f"field: {FIELD}": "the same rule",
    "scope must not be traceId: this event has none": "a rule between a parameter and the event",
    "interval must be from 1s to 10000 years": "a bound on a number and its unit together",
    "interval must make at most 1000 buckets of the range": "a rule between three parameters",
    "cursor: is not a nextCursor of an earlier page": "a cursor is opaque: valid ones come from answers only",
    "cursor: belongs to a page in the other order: leave out order, or the cursor": "a rule between two parameters",
}


def rules_broken(response: Response) -> Iterator[str]:
    """The errors in a problem document, one for each event or parameter."""
    problem = response.json()
    if problem["code"] == "no_valid_event":
        yield from (failure["code"] for failure in problem["errors"])
    elif problem["code"] == "invalid_parameter":
        yield problem["detail"]
    else:
        yield problem["code"]


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Keeps a failure unless it is excluded here."""
    # A bad event never affects its neighbours: the batch is accepted and the event is listed in `errors`.
    if isinstance(failure, AcceptedNegativeData) and case.operation.label == "POST /api/logs/batch":
        return response.status_code != 202 or not response.json()["errors"]
    # Excluded only if every violated rule is listed above.
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    broken = set(rules_broken(response))
    return not broken or not broken <= QUERY_RULES.keys() | EVENT_RULES.keys() | PARAMETER_RULES.keys()
