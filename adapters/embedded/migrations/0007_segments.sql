-- Sealed segments: files with events that are no longer rows. The number of a segment is in the name of its file.
CREATE TABLE segments (
    number INTEGER PRIMARY KEY,
    file_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    tail_offset INTEGER NOT NULL,
    tail_crc INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL,
    timestamp_from INTEGER NOT NULL,
    timestamp_to INTEGER NOT NULL,
    received_from INTEGER NOT NULL,
    received_to INTEGER NOT NULL,
    sequence_from INTEGER NOT NULL,
    sequence_to INTEGER NOT NULL,
    rewrites INTEGER NOT NULL
) STRICT;

-- A file that is being written. AUTOINCREMENT: no number is used twice.
CREATE TABLE segment_intents (number INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;

-- One row. The generation changes with the list of segments. Claims of an earlier receipt may be absent.
CREATE TABLE segment_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    claims_from INTEGER NOT NULL
) STRICT;
INSERT INTO segment_state (id, generation, claims_from) VALUES (1, 0, -62167219200000000);

-- Ids that clients chose, of events in segments.
CREATE TABLE claims (
    event_id BLOB NOT NULL,
    tenant BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, tenant, received_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_by_receipt ON claims (received_at);
