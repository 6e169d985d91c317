-- Levels are 0 (TRACE) to 5 (FATAL). Positions, dead letters and events change in one transaction.

-- Numbers events in the order of being written. A tail must not pass a transaction that has drawn numbers and not
-- committed yet: see `end` in `store.rs`.
CREATE SEQUENCE events_sequence;

-- By the UTC day of receipt, so that retention drops whole tables. There is no default partition: it would keep days
-- from being detached while others write.
CREATE TABLE events (
    sequence bigint NOT NULL DEFAULT nextval('events_sequence'),
    event_id uuid NOT NULL,
    client_id boolean NOT NULL,
    source text NOT NULL,
    level smallint NOT NULL,
    message text NOT NULL,
    "timestamp" timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    stack_trace text,
    trace_id bytea,
    span_id bytea,
    metadata json,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    -- Recognises a record that comes again: its id and its time of receipt travel with it.
    PRIMARY KEY (event_id, received_at)
) PARTITION BY RANGE (received_at);

CREATE INDEX ON events ("timestamp", event_id, received_at);
CREATE INDEX ON events (source, "timestamp", event_id, received_at);
CREATE INDEX ON events (trace_id, "timestamp", event_id, received_at) WHERE trace_id IS NOT NULL;
-- Written in this order, so a summary of each range of blocks is enough.
CREATE INDEX ON events USING brin (sequence) WITH (pages_per_range = 16, autosummarize = on);

-- Ids that clients gave may come again with another time of receipt: the row of an id is what all consumers and days
-- meet at. `kept` are the times of receipt of the events that were stored under it.
CREATE TABLE event_ids (
    event_id uuid PRIMARY KEY,
    kept timestamptz[] NOT NULL,
    latest timestamptz NOT NULL
);
CREATE INDEX ON event_ids USING brin (latest) WITH (autosummarize = on);

CREATE TABLE positions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
);

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    reason text NOT NULL,
    attempts bigint NOT NULL,
    at timestamptz NOT NULL,
    redriven_at timestamptz,
    copied_at timestamptz,
    UNIQUE (consumer_group, topic, partition, "offset")
);
CREATE INDEX ON dead_letters (at);
-- What is still to be copied is looked for every second.
CREATE INDEX ON dead_letters (id) WHERE copied_at IS NULL;
