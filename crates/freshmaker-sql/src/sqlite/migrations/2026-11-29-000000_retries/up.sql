ALTER TABLE events ADD COLUMN retry_of BIGINT;
-- Until now a claim counted a try, also the one under way.
UPDATE inbox SET tries = tries - 1 WHERE tries > 0;
-- Old messages are found without reading their bodies.
CREATE INDEX inbox_age ON inbox (state, received_at);
