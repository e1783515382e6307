-- The line of each build system is read on its own, so that a long one hides none of the others.
DROP INDEX builds_due;
CREATE INDEX builds_due ON builds (state, system, priority DESC, id);

-- 1 is moderate, which is what events without a severity are.
ALTER TABLE events ADD COLUMN severity SMALLINT NOT NULL DEFAULT 1 CHECK (severity BETWEEN 0 AND 3);
