//! Which topics are ours.

use crate::samples::{PREFIXES, data, message, parsers};
use freshmaker::event::{Parsed, Parser, Parsers};
use freshmaker::{Envelope, Message, Severity};
use proptest::prelude::{any, prop_assert_eq, proptest};
use proptest::sample::select;

/// The rule in words: a prefix, a dot and a topic of a parser.
fn is_ours(topic: &str) -> bool {
    let topic = topic.strip_prefix("/topic/").unwrap_or(topic);
    freshmaker_redhat::messages::ALL.iter().flat_map(Parser::topics).any(|suffix| {
        PREFIXES
            .iter()
            .any(|prefix| if prefix.is_empty() { topic == *suffix } else { topic == format!("{prefix}.{suffix}") })
    })
}

#[test]
fn of_all_recorded_topics_these_are_ours() {
    let text = data("topics.txt");
    let parsers = parsers();
    // Not JSON: whoever looks at it says so.
    let taken: Vec<_> = text.lines().filter(|topic| parsers.parse(&message(topic, "?")).is_some()).collect();
    assert_eq!(text.lines().filter(|topic| is_ours(topic)).collect::<Vec<_>>(), taken);
    insta::assert_snapshot!("topics", taken.join("\n"));
}

#[test]
fn topics_to_bind_are_whole_and_found_again() {
    let parsers = parsers();
    let topics = parsers.topics();
    let distinct = freshmaker_redhat::messages::ALL.iter().flat_map(Parser::topics).count() * PREFIXES.len();
    assert_eq!(topics.len(), distinct);
    assert!(topics.iter().all(|topic| parsers.parse(&message(topic, "?")).is_some()));
}

fn taken(message: &Message) -> Parsed {
    let (kind, search_key, payload) = ("k".to_owned(), message.topic.clone(), serde_json::Value::Null);
    Some(Ok(Envelope { kind, search_key, manual: false, requester: None, severity: Severity::Moderate, payload }))
}

proptest! {
    /// Few letters, so that topics are often parts of each other.
    #[test]
    fn any_set_of_topics_is_told_from_all_others(
        topics in proptest::collection::vec("[ab.]{0,6}", 0..12),
        prefixes in proptest::collection::vec("[ab]{0,2}", 0..3),
        asked in proptest::collection::vec("[ab.]{0,9}", 0..40),
        scheme in select(vec!["", "/topic/", "topic://"]),
        pick in any::<proptest::sample::Index>(),
    ) {
        // A parser is a constant in programs.
        let leaked: Vec<&'static str> = topics.iter().map(|topic| &*topic.clone().leak()).collect();
        let parsers = Parsers::new(&prefixes).with(Parser::new(leaked.leak(), &["k"], taken));
        let bound = parsers.topics();
        let own = (!bound.is_empty()).then(|| bound[pick.index(bound.len())].clone());
        for topic in asked.into_iter().chain(own) {
            let no_prefix = prefixes.is_empty();
            let ours = topics.iter().any(|suffix| {
                no_prefix && topic == *suffix
                    || prefixes.iter().any(|prefix| if prefix.is_empty() { topic == *suffix } else { topic == format!("{prefix}.{suffix}") })
            });
            prop_assert_eq!(parsers.parse(&message(&format!("{scheme}{topic}"), "")).is_some(), ours, "{}", topic);
        }
    }
}
