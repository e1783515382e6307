ALTER TABLE attempts DROP COLUMN session;
ALTER TABLE builds DROP COLUMN demands;
