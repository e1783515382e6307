ALTER TABLE events DROP COLUMN severity;
DROP INDEX builds_due;
CREATE INDEX builds_due ON builds (state, priority DESC, id);
