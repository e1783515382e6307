DROP TABLE documents;
DROP INDEX builds_output_name;
DROP INDEX attempts_external;
DROP INDEX events_requester;
DROP INDEX events_kind;
