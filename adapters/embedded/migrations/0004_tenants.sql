-- An event of a tenant, whose keys are restricted to some sources, is a repeat only of an event of the same tenant. Empty for
-- all others.
ALTER TABLE events ADD COLUMN tenant BLOB NOT NULL DEFAULT x'';
