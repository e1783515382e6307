ALTER TABLE events DROP COLUMN retry_of;
