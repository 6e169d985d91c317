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

-- Which of the counts in `rollups` are of the events of a segment, with all their sources. They are subtracted when it is
-- removed. Segment 0 stands for rows that are being removed.
CREATE TABLE segment_rollups (
    segment INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    level INTEGER NOT NULL,
    source TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (segment, minute, level, source)
) STRICT, WITHOUT ROWID;

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
