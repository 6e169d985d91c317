-- Numbers of events by minute of "timestamp" (minutes since 1970-01-01T00:00:00Z, negative before), level and source, for
-- histograms. An empty source stands for all sources that are not kept apart.
--
-- `day` is the UTC day of receipt (days since 1970-01-01), so that a day's rollups are removed with its table. `partition` is
-- the one that the events were read from: consumers of different partitions never wait for each other's rows.
CREATE TABLE rollups (
    day bigint NOT NULL,
    minute bigint NOT NULL,
    events bigint NOT NULL,
    partition integer NOT NULL,
    level smallint NOT NULL,
    source text COLLATE "C" NOT NULL,
    PRIMARY KEY (day, minute, level, source, partition)
    -- Room to change a row where it is: the rows of a minute change with each append, and no index has `events`.
) WITH (fillfactor = 70);

-- Days all of whose events are in `rollups`: those whose table was created since. Events of all other days are counted from
-- their rows until retention removes them, so that this migration reads no event.
CREATE TABLE rollup_days (
    day bigint PRIMARY KEY
);
