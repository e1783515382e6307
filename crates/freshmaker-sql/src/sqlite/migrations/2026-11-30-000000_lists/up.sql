-- Events by what people filter them by, and builds by what their build system and their users call them.
CREATE INDEX events_kind ON events (kind, id);
CREATE INDEX events_requester ON events (requester, id) WHERE requester IS NOT NULL;
CREATE INDEX attempts_external ON attempts (external) WHERE external IS NOT NULL;
CREATE INDEX builds_output_name ON builds (json_extract(output, '$.name'), id) WHERE output IS NOT NULL;

-- What programs around an engine keep.
CREATE TABLE documents (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    UNIQUE (kind, id)
);
CREATE INDEX documents_kind ON documents (kind, number);
CREATE INDEX documents_expires_at ON documents (kind, expires_at) WHERE expires_at IS NOT NULL;
