-- An event of a tenant, whose keys are restricted to some sources, is a repeat only of an event of the same tenant: empty for
-- all others. With the tenant in the key, events of two tenants with one id that were received in the same microsecond are
-- two rows. Adding the column changes no row; the key of each day is built again.
ALTER TABLE events ADD COLUMN tenant bytea NOT NULL DEFAULT '';
ALTER TABLE events DROP CONSTRAINT events_pkey;
ALTER TABLE events ADD PRIMARY KEY (event_id, received_at, tenant);
