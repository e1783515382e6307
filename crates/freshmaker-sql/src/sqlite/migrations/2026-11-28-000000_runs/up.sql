-- Foreign keys are off while this runs, since `events` is made anew: its kinds are no longer numbered here.
DROP TRIGGER events_tally_new;
DROP TRIGGER events_tally_changed;
DROP TRIGGER events_tally_gone;
CREATE TABLE events_new (
    id INTEGER NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 0 AND 5),
    source TEXT NOT NULL,
    message_id TEXT NOT NULL,
    handler TEXT NOT NULL,
    generation BIGINT NOT NULL,
    kind TEXT NOT NULL,
    search_key TEXT NOT NULL,
    manual BOOLEAN NOT NULL CHECK (manual IN (0, 1)),
    requester TEXT,
    severity SMALLINT NOT NULL CHECK (severity BETWEEN 0 AND 3),
    payload TEXT NOT NULL,
    mode SMALLINT NOT NULL CHECK (mode BETWEEN 0 AND 2),
    reason_code TEXT NOT NULL,
    reason_text TEXT NOT NULL,
    plan TEXT,
    builds_open BIGINT NOT NULL,
    builds_done BIGINT NOT NULL,
    builds_failed BIGINT NOT NULL,
    cancel_at BIGINT,
    created_at BIGINT NOT NULL,
    done_at BIGINT
);
-- What version 0.1 has written has no source, so that its events are not compared.
INSERT INTO events_new SELECT id, version, state, '', message_id, handler, generation, kind, search_key, manual,
    requester, severity, payload, mode, reason_code, reason_text, plan, builds_open, builds_done, builds_failed,
    cancel_at, created_at, done_at FROM events;
DROP TABLE events;
ALTER TABLE events_new RENAME TO events;
CREATE INDEX events_state ON events (state, id);
CREATE INDEX events_search_key ON events (search_key, id);
CREATE INDEX events_message_id ON events (message_id, id);
CREATE UNIQUE INDEX events_once ON events (source, message_id, handler, generation) WHERE source <> '';
CREATE TRIGGER events_tally_new AFTER INSERT ON events
BEGIN
    INSERT INTO tallies VALUES ('events', NEW.state, 1) ON CONFLICT DO UPDATE SET amount = amount + 1;
END;
CREATE TRIGGER events_tally_changed AFTER UPDATE OF state ON events WHEN OLD.state <> NEW.state
BEGIN
    UPDATE tallies SET amount = amount - 1 WHERE subject = 'events' AND state = OLD.state;
    INSERT INTO tallies VALUES ('events', NEW.state, 1) ON CONFLICT DO UPDATE SET amount = amount + 1;
END;
CREATE TRIGGER events_tally_gone AFTER DELETE ON events
BEGIN
    UPDATE tallies SET amount = amount - 1 WHERE subject = 'events' AND state = OLD.state;
END;
DROP TABLE kinds;
DROP TABLE channels;
DROP TABLE observations;

ALTER TABLE inbox RENAME COLUMN owner TO run;
ALTER TABLE attempts RENAME COLUMN owner TO run;
ALTER TABLE transitions RENAME COLUMN owner TO run;
ALTER TABLE transitions ADD COLUMN actor TEXT NOT NULL DEFAULT 'engine';

-- The runs that are not over, and until when their leases hold. Numbers only grow, also when rows go.
CREATE TABLE runs (
    run INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    expires_at BIGINT NOT NULL
);
INSERT INTO runs (run, expires_at) SELECT max(token), 0 FROM leases WHERE token IS NOT NULL HAVING max(token) IS NOT NULL;
DELETE FROM runs;
DROP TABLE leases;

-- Rows stay when they are published, until they are trimmed; each bus has a position instead.
ALTER TABLE outbox RENAME TO notifications;
ALTER TABLE notifications RENAME COLUMN number TO position;
ALTER TABLE notifications ADD COLUMN partition SMALLINT NOT NULL DEFAULT 0;
CREATE INDEX notifications_partition ON notifications (partition, position);
CREATE TABLE positions (
    partition SMALLINT NOT NULL,
    bus TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (partition, bus)
) WITHOUT ROWID;
CREATE TABLE partitions (
    partition SMALLINT NOT NULL PRIMARY KEY,
    trimmed BIGINT NOT NULL,
    publisher BIGINT
);
INSERT INTO partitions VALUES (0, 0, NULL);
