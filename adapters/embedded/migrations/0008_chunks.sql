-- The newest events. A row has events of one append that were received on one day; the body has at most 4,000 of them
-- (src/store/hot/body.rs). Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE chunks (
    first_id INTEGER PRIMARY KEY,
    last_id INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    timestamp_from INTEGER NOT NULL,
    timestamp_to INTEGER NOT NULL,
    received_from INTEGER NOT NULL,
    received_to INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- One row. Version and writer change with every change of the chunks. Tails follow the ids of events, so no id is given twice, not
-- even after the newest event has expired.
CREATE TABLE chunk_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    next_id INTEGER NOT NULL
) STRICT;
INSERT INTO chunk_state (id, version, writer, next_id)
    SELECT 1, 0, 0, coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'), 0) + 1;

-- The rows of earlier versions are moved into chunks when the store is opened. Without indexes that takes seconds instead of
-- minutes.
DROP INDEX events_by_time;
DROP INDEX events_by_source;
DROP INDEX events_by_level;
DROP INDEX events_by_trace;
DROP INDEX events_by_id;
DROP INDEX events_by_receipt;
