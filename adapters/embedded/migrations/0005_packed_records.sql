-- Several events of one packed record may be dead letters: their position in the record becomes part of the key. SQLite
-- cannot change a constraint. The trace is that of the record, for a redrive.
ALTER TABLE dead_letters RENAME TO dead_letters_before;

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    record_index INTEGER NOT NULL DEFAULT 0,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    trace_parent BLOB,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    redriven_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    copied_at INTEGER,
    UNIQUE (consumer_group, topic, partition, "offset", record_index)
) STRICT;

INSERT INTO dead_letters
    (id, consumer_group, topic, partition, "offset", key, value, reason, at, redriven_at, attempts, copied_at)
    SELECT id, consumer_group, topic, partition, "offset", key, value, reason, at, redriven_at, attempts, copied_at
    FROM dead_letters_before;
DROP TABLE dead_letters_before;

CREATE INDEX dead_letters_by_time ON dead_letters (at);
CREATE INDEX dead_letters_uncopied ON dead_letters (id) WHERE copied_at IS NULL;
