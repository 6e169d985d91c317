-- Repeats of derived ids are found among the stored events. Their claims are of no use.
DELETE FROM event_ids WHERE derived_at IS NOT NULL;
ALTER TABLE event_ids DROP COLUMN derived_at;
