//! Models of the protocol by which several engines share a storage and submit to a build system.
//!
//! The models are in `tests/`: `submission` (leases, intents, lookups, cancellation, a database
//! that was restored) and `planning` (plans that are stored at once, beside completions and
//! cancellations). Each visits all states within its budgets of faults, and has mutants: the same
//! protocol without one of its rules, for which a property must fail.
