DROP INDEX builds_repositories;
