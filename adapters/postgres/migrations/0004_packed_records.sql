-- Several events of one packed record may be dead letters: their position in the record becomes part of the key. The trace
-- is that of the record, for a redrive.
ALTER TABLE dead_letters ADD COLUMN record_index integer NOT NULL DEFAULT 0, ADD COLUMN trace_parent bytea;

-- The table has one unique constraint, whose name PostgreSQL chose.
DO $$
DECLARE
    constraint_name name;
BEGIN
    SELECT conname INTO STRICT constraint_name FROM pg_constraint
        WHERE conrelid = 'dead_letters'::regclass AND contype = 'u';
    EXECUTE format('ALTER TABLE dead_letters DROP CONSTRAINT %I', constraint_name);
END
$$;

ALTER TABLE dead_letters ADD UNIQUE (consumer_group, topic, partition, "offset", record_index);
