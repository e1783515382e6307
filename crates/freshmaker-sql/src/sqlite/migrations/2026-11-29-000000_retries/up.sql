ALTER TABLE events ADD COLUMN retry_of BIGINT;
-- Until now a claim counted a try, also the one under way.
UPDATE inbox SET tries = tries - 1 WHERE tries > 0;
