-- Until now all that was asked for was directly affected, which alone keeps a build from being skipped: 0 is right for all rows there are.
ALTER TABLE builds ADD COLUMN asked BOOLEAN NOT NULL DEFAULT 0 CHECK (asked IN (0, 1));
