-- Numbers of events by minute of `timestamp` (minutes since 1970-01-01T00:00:00Z, negative before), level and source, for
-- histograms. An empty source stands for all sources that are not kept apart. The key has the order in which minutes and levels
-- are added up, so that no read sorts.
CREATE TABLE rollups (
    minute INTEGER NOT NULL,
    level INTEGER NOT NULL,
    source TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (minute, level, source)
) STRICT, WITHOUT ROWID;

-- Once, every event is read, and its minute, level and source are sorted in a temporary file.
INSERT INTO rollups (minute, level, source, events)
    SELECT (timestamp - ((timestamp % 60000000) + 60000000) % 60000000) / 60000000, level, source, count(*)
    FROM events GROUP BY 1, 2, 3;
