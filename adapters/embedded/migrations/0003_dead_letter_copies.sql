ALTER TABLE dead_letters ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN copied_at INTEGER;
-- What is still to be copied is looked for every second.
CREATE INDEX dead_letters_uncopied ON dead_letters (id) WHERE copied_at IS NULL;
