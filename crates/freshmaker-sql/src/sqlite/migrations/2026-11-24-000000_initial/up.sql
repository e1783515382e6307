-- Numbers of states are those of the crate's enums. Moments are microseconds since 1970, UTC.

CREATE TABLE inbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 0 AND 4),
    tries BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    not_before BIGINT,
    reason_code TEXT,
    reason_text TEXT,
    UNIQUE (source, message_id)
);
CREATE INDEX inbox_state ON inbox (state, id);
CREATE INDEX inbox_not_before ON inbox (state, not_before) WHERE not_before IS NOT NULL;

CREATE TABLE kinds (
    name TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE
);

CREATE TABLE events (
    id INTEGER NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 0 AND 5),
    message_id TEXT NOT NULL,
    handler TEXT NOT NULL,
    generation BIGINT NOT NULL,
    kind TEXT NOT NULL REFERENCES kinds (name),
    search_key TEXT NOT NULL,
    manual BOOLEAN NOT NULL CHECK (manual IN (0, 1)),
    requester TEXT,
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
CREATE INDEX events_state ON events (state, id);
CREATE INDEX events_search_key ON events (search_key, id);
CREATE INDEX events_message_id ON events (message_id, id);

CREATE TABLE builds (
    id INTEGER NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 0 AND 10),
    system TEXT NOT NULL,
    build_key TEXT NOT NULL,
    artifact TEXT NOT NULL,
    target TEXT NOT NULL,
    mode SMALLINT NOT NULL CHECK (mode BETWEEN 0 AND 2),
    slot SMALLINT NOT NULL CHECK (slot IN (0, 1)),
    kind SMALLINT NOT NULL,
    source TEXT,
    parameters TEXT NOT NULL,
    parents TEXT NOT NULL,
    because SMALLINT NOT NULL CHECK (because BETWEEN 0 AND 2),
    inputs TEXT,
    pending BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    estimate BIGINT,
    tries BIGINT NOT NULL,
    resubmits BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    no_cache BOOLEAN NOT NULL CHECK (no_cache IN (0, 1)),
    release TEXT,
    not_before BIGINT,
    reason_code TEXT NOT NULL,
    reason_text TEXT NOT NULL,
    output TEXT,
    cancel_at BIGINT,
    created_at BIGINT NOT NULL,
    done_at BIGINT
);
CREATE UNIQUE INDEX builds_one_per_slot ON builds (build_key, slot) WHERE state < 6;
CREATE INDEX builds_output ON builds (build_key, id) WHERE output IS NOT NULL;
CREATE INDEX builds_due ON builds (state, priority DESC, id);
CREATE INDEX builds_not_before ON builds (state, not_before) WHERE not_before IS NOT NULL;
CREATE INDEX builds_state ON builds (state, id);
CREATE INDEX builds_artifact ON builds (artifact, id);

CREATE TABLE attempts (
    id TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 0 AND 8),
    build BIGINT NOT NULL REFERENCES builds (id),
    system TEXT NOT NULL,
    number BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    release TEXT NOT NULL,
    intent_at BIGINT NOT NULL,
    external TEXT,
    observed_at BIGINT,
    reason_code TEXT NOT NULL,
    reason_text TEXT NOT NULL,
    deadline BIGINT,
    not_before BIGINT,
    live BOOLEAN NOT NULL GENERATED ALWAYS AS (state < 4) STORED,
    unobserved_since BIGINT NOT NULL GENERATED ALWAYS AS (coalesce(observed_at, intent_at)) STORED,
    UNIQUE (system, external)
);
CREATE UNIQUE INDEX attempts_one_live ON attempts (build) WHERE state < 4;
CREATE INDEX attempts_build ON attempts (build, live, number);
CREATE INDEX attempts_due ON attempts (live, unobserved_since, id);
CREATE INDEX attempts_system ON attempts (live, system);
CREATE INDEX attempts_not_before ON attempts (live, not_before) WHERE not_before IS NOT NULL;
CREATE TRIGGER attempts_external_once BEFORE UPDATE OF external ON attempts
WHEN OLD.external IS NOT NULL AND NEW.external IS NOT OLD.external
BEGIN
    SELECT RAISE(ABORT, 'the external id of an attempt is written once');
END;

CREATE TABLE build_deps (
    parent BIGINT NOT NULL REFERENCES builds (id),
    child BIGINT NOT NULL REFERENCES builds (id),
    kind SMALLINT NOT NULL CHECK (kind IN (0, 1)),
    satisfied BOOLEAN NOT NULL CHECK (satisfied IN (0, 1)),
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX build_deps_child ON build_deps (child, parent);

CREATE TABLE build_causes (
    build BIGINT NOT NULL REFERENCES builds (id),
    event BIGINT NOT NULL REFERENCES events (id),
    because TEXT NOT NULL,
    live BOOLEAN NOT NULL CHECK (live IN (0, 1)),
    PRIMARY KEY (build, event)
) WITHOUT ROWID;
CREATE INDEX build_causes_event ON build_causes (event, build);

CREATE TABLE plans (
    event INTEGER NOT NULL PRIMARY KEY REFERENCES events (id),
    body TEXT NOT NULL
);

CREATE TABLE transitions (
    aggregate TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    reason_text TEXT NOT NULL,
    owner BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (aggregate, id, version)
) WITHOUT ROWID;

-- A row goes when its message is published; the trail keeps what happened.
CREATE TABLE outbox (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    aggregate TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    topic TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (aggregate, id, version, topic)
);

CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    token BIGINT NOT NULL,
    taken_at BIGINT NOT NULL
);

CREATE TABLE sequences (
    name TEXT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);

CREATE TABLE channels (
    system TEXT NOT NULL PRIMARY KEY,
    cap BIGINT,
    paused BOOLEAN NOT NULL CHECK (paused IN (0, 1))
);

CREATE TABLE observations (
    system TEXT NOT NULL,
    ext_id TEXT NOT NULL,
    ext_state TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (system, ext_id, ext_state)
) WITHOUT ROWID;

-- How many rows are in each state, so that an overview costs the same however long the history is.
CREATE TABLE tallies (
    subject TEXT NOT NULL,
    state SMALLINT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (subject, state)
) WITHOUT ROWID;
CREATE TRIGGER inbox_tally_new AFTER INSERT ON inbox
BEGIN
    INSERT INTO tallies VALUES ('inbox', NEW.state, 1) ON CONFLICT DO UPDATE SET amount = amount + 1;
END;
CREATE TRIGGER inbox_tally_changed AFTER UPDATE OF state ON inbox WHEN OLD.state <> NEW.state
BEGIN
    UPDATE tallies SET amount = amount - 1 WHERE subject = 'inbox' AND state = OLD.state;
    INSERT INTO tallies VALUES ('inbox', NEW.state, 1) ON CONFLICT DO UPDATE SET amount = amount + 1;
END;
CREATE TRIGGER inbox_tally_gone AFTER DELETE ON inbox
BEGIN
    UPDATE tallies SET amount = amount - 1 WHERE subject = 'inbox' AND state = OLD.state;
END;
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
CREATE TRIGGER builds_tally_new AFTER INSERT ON builds
BEGIN
    INSERT INTO tallies VALUES ('builds', NEW.state, 1) ON CONFLICT DO UPDATE SET amount = amount + 1;
END;
CREATE TRIGGER builds_tally_changed AFTER UPDATE OF state ON builds WHEN OLD.state <> NEW.state
BEGIN
    UPDATE tallies SET amount = amount - 1 WHERE subject = 'builds' AND state = OLD.state;
    INSERT INTO tallies VALUES ('builds', NEW.state, 1) ON CONFLICT DO UPDATE SET amount = amount + 1;
END;
CREATE TRIGGER builds_tally_gone AFTER DELETE ON builds
BEGIN
    UPDATE tallies SET amount = amount - 1 WHERE subject = 'builds' AND state = OLD.state;
END;
