-- Times are microseconds since 1970-01-01T00:00:00Z, levels 0 (TRACE) to 5 (FATAL).

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
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

-- Every query is answered in the order (timestamp, event_id, received_at), so each filter that is worth an
-- index has that order behind it.
CREATE INDEX events_by_time ON events (timestamp, event_id, received_at);
CREATE INDEX events_by_source ON events (source, timestamp, event_id, received_at);
CREATE INDEX events_by_level ON events (level, timestamp, event_id, received_at);
CREATE INDEX events_by_trace ON events (trace_id, timestamp, event_id, received_at) WHERE trace_id IS NOT NULL;
-- Finds repeats, and single events.
CREATE INDEX events_by_id ON events (event_id, received_at);
-- Finds what has expired, whatever it arrived behind. Events come nearly in this order, so it grows at its end.
CREATE INDEX events_by_receipt ON events (received_at);

CREATE TABLE positions (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (consumer_group, topic, partition, "offset")
) STRICT;
