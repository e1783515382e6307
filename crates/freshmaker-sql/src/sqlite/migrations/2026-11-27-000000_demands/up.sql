-- Packages that the result must contain: a JSON list of their names with versions.
ALTER TABLE builds ADD COLUMN demands TEXT NOT NULL DEFAULT '[]';
-- The session of the build system in which an attempt was submitted; what was submitted until now had none.
ALTER TABLE attempts ADD COLUMN session TEXT;
-- How often a message was put off because a backend failed.
ALTER TABLE inbox ADD COLUMN waits BIGINT NOT NULL DEFAULT 0;
