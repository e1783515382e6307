-- Repositories that are prepared for builds are counted apart from all other builds. 4 is their kind.
CREATE INDEX builds_repositories ON builds (state, id) WHERE kind = 4;
