//! Guides: how to do one thing with this crate, from the first line to the last.
//!
//! | you want to … | page |
//! |---|---|
//! | receive events over HTTP, and run the engine beside a web server | [`web_service`] |
//! | let a service with an HTTP interface build | [`build_system`] |
//! | know which images contain a package, and rebuild them | [`packages`] |
//! | run it: log lines, states, backups, upgrades | [`operating`] |
//!
//! The program of the [front page](crate) is the shortest beginning. The contracts are in
//! [`backend`](crate::backend), the words in `ARCHITECTURE.md`.

#[doc = include_str!("web_service.md")]
#[doc(alias = "axum")]
#[doc(alias = "actix")]
#[doc(alias = "HTTP")]
#[doc(alias = "REST")]
#[doc(alias = "webhook")]
#[doc(alias = "graceful shutdown")]
pub mod web_service {}

#[doc = include_str!("build_system.md")]
#[doc = "```"]
#[doc = include_str!("../../examples/http_backend.rs")]
#[doc = "```"]
#[doc(alias = "HTTP")]
#[doc(alias = "timeout")]
#[doc(alias = "idempotency")]
#[doc(alias = "rate limit")]
#[doc(alias = "CI")]
pub mod build_system {}

#[doc = include_str!("packages.md")]
#[doc(alias = "SBOM")]
#[doc(alias = "CVE")]
#[doc(alias = "vulnerability")]
#[doc(alias = "rpm")]
#[doc(alias = "modelling")]
pub mod packages {}

#[doc = include_str!("operating.md")]
#[doc(alias = "tracing")]
#[doc(alias = "logging")]
#[doc(alias = "metrics")]
#[doc(alias = "prometheus")]
#[doc(alias = "monitoring")]
#[doc(alias = "alerting")]
#[doc(alias = "retry")]
#[doc(alias = "dead letter")]
#[doc(alias = "queue")]
#[doc(alias = "circuit breaker")]
#[doc(alias = "lease")]
#[doc(alias = "fencing")]
#[doc(alias = "high availability")]
#[doc(alias = "migration")]
#[doc(alias = "upgrade")]
#[doc(alias = "clock")]
pub mod operating {}

#[cfg(test)]
mod tests {
    use crate::rebuild::{AttemptState, BuildState, EventState, InboxState};
    use std::collections::BTreeSet;

    /// The names in the first column of the tables of a section.
    fn names(section: &str) -> BTreeSet<String> {
        let page = include_str!("operating.md");
        let (_, rest) = page.split_once(&format!("\n### {section}\n")).expect("the section is there");
        let section = rest.split("\n#").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
    }

    fn json<T: serde::Serialize>(states: impl IntoIterator<Item = T>) -> BTreeSet<String> {
        let name = |state: T| serde_json::to_value(state).expect("a text").as_str().expect("a text").to_owned();
        states.into_iter().map(name).collect()
    }

    #[test]
    fn every_state_is_in_the_tables_by_its_json_name_and_nothing_else_is() {
        assert_eq!(names("Events"), json(EventState::ALL));
        assert_eq!(names("Builds"), json(BuildState::ALL));
        assert_eq!(names("Attempts"), json(AttemptState::ALL));
        let messages = [InboxState::New, InboxState::Claimed, InboxState::Done, InboxState::Ignored, InboxState::Dead];
        assert_eq!(names("Messages"), json(messages));
    }

    #[test]
    fn every_log_line_of_the_page_is_one_that_the_engine_writes() {
        let page = include_str!("operating.md");
        let (_, rest) = page.split_once("\n## Logs\n").expect("the section is there");
        let section = rest.split("\n## ").next().unwrap_or_default();
        let lines = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let sources = [
            include_str!("../engine/breaker.rs"),
            include_str!("../engine/core.rs"),
            include_str!("../engine/inbox.rs"),
            include_str!("../engine/lease.rs"),
            include_str!("../engine/message.rs"),
            include_str!("../engine/mod.rs"),
            include_str!("../engine/publish.rs"),
            include_str!("../engine/replica.rs"),
            include_str!("../engine/watch.rs"),
        ];
        let lines: Vec<_> = lines.collect();
        assert!(lines.len() > 8, "{lines:?}");
        for line in lines {
            assert!(sources.iter().any(|source| source.contains(line)), "no line of the engine is {line:?}");
        }
    }
}
