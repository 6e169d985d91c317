-- When an id was claimed that Spillway derived from what an agent sent: it is needed only for as long as agents send
-- again. NULL for ids that clients chose.
ALTER TABLE event_ids ADD COLUMN derived_at timestamptz;
CREATE INDEX ON event_ids USING brin (derived_at) WITH (autosummarize = on);
