-- Tails follow `id`, so no id may be given twice, not even after the newest event has expired: AUTOINCREMENT. SQLite
-- cannot add that to a table.
ALTER TABLE events RENAME TO events_before;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL,
    client_id INTEGER NOT NULL,
    source TEXT NOT NULL,
    level INTEGER NOT NULL,
    message TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    stack_trace TEXT,
    trace_id BLOB,
    span_id BLOB,
    metadata TEXT,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL
) STRICT;

INSERT INTO events SELECT * FROM events_before;
DROP TABLE events_before;

CREATE INDEX events_by_time ON events (timestamp, event_id, received_at);
CREATE INDEX events_by_source ON events (source, timestamp, event_id, received_at);
CREATE INDEX events_by_level ON events (level, timestamp, event_id, received_at);
CREATE INDEX events_by_trace ON events (trace_id, timestamp, event_id, received_at) WHERE trace_id IS NOT NULL;
CREATE INDEX events_by_id ON events (event_id, received_at);
CREATE INDEX events_by_receipt ON events (received_at);

ALTER TABLE dead_letters ADD COLUMN redriven_at INTEGER;
CREATE INDEX dead_letters_by_time ON dead_letters (at);
