DROP TABLE partitions;
-- What every bus has got is published; version 0.1 deletes what is published.
DELETE FROM notifications WHERE position <= coalesce((SELECT min(position) FROM positions), 0);
DROP TABLE positions;
DROP INDEX notifications_partition;
ALTER TABLE notifications DROP COLUMN partition;
ALTER TABLE notifications RENAME COLUMN position TO number;
ALTER TABLE notifications RENAME TO outbox;
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    token BIGINT NOT NULL,
    taken_at BIGINT NOT NULL
);
INSERT INTO leases SELECT 'engine', seq, 0 FROM sqlite_sequence WHERE name = 'runs';
DROP TABLE runs;
ALTER TABLE transitions DROP COLUMN actor;
ALTER TABLE transitions RENAME COLUMN run TO owner;
ALTER TABLE attempts RENAME COLUMN run TO owner;
ALTER TABLE inbox RENAME COLUMN run TO owner;
CREATE TABLE observations (
    system TEXT NOT NULL,
    ext_id TEXT NOT NULL,
    ext_state TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (system, ext_id, ext_state)
) WITHOUT ROWID;
CREATE TABLE channels (
    system TEXT NOT NULL PRIMARY KEY,
    cap BIGINT,
    paused BOOLEAN NOT NULL CHECK (paused IN (0, 1))
);
CREATE TABLE kinds (
    name TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE
);
INSERT INTO kinds SELECT kind, 999 + row_number() OVER (ORDER BY min(id)) FROM events GROUP BY kind;
DROP INDEX events_once;
ALTER TABLE events DROP COLUMN source;
