DROP TABLE plans, build_causes, build_deps, attempts, builds, events, inbox, transitions, runs, notifications, positions, partitions, documents, sequences, tallies;
DROP FUNCTION tally, attempts_external_once;
