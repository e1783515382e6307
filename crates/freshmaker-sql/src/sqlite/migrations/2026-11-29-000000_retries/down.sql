DROP INDEX inbox_age;
UPDATE inbox SET tries = tries + 1 WHERE state = 1;
ALTER TABLE events DROP COLUMN retry_of;
