//! Rows as spans, with the names of the conventions for CI/CD (semantic conventions 1.43).

use super::TraceConfig;
use crate::rows::Beside;
use freshmaker::Reason;
use freshmaker::artifact::Nvr;
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildMode, BuildRecord, BuildState, EventId, EventRecord, EventState,
};
use freshmaker::time::{Timestamp, to_micros};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A span in the JSON form of OTLP.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    pub(super) trace_id: String,
    pub(super) span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_span_id: Option<String>,
    pub(super) name: String,
    /// 1 internal, 2 server, 3 client.
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Value>,
    status: Value,
}

/// Collects attributes.
#[derive(Debug, Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn text(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.push(json!({ "key": key, "value": { "stringValue": value.into() } }));
        self
    }

    fn some(self, key: &str, value: Option<impl Into<String>>) -> Self {
        value.into_iter().fold(self, |all, value| all.text(key, value))
    }

    fn number(mut self, key: &str, value: impl Into<i64>) -> Self {
        // Numbers of 64 bits are texts in this form.
        self.0.push(json!({ "key": key, "value": { "intValue": value.into().to_string() } }));
        self
    }

    fn truth(mut self, key: &str, value: bool) -> Self {
        self.0.push(json!({ "key": key, "value": { "boolValue": value } }));
        self
    }
}

/// Writes spans.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    config: &'a TraceConfig,
    pub(super) spans: Vec<Span>,
}

/// The part of a digest of these words that is as long as an identity. One of zeros alone would be
/// none; a digest is never so in practice.
fn identity(words: &[&str], bytes: usize) -> String {
    let mut digest = Sha256::new();
    for word in words {
        digest.update((word.len() as u64).to_be_bytes());
        digest.update(word.as_bytes());
    }
    digest.finalize().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

fn nanos(at: Timestamp) -> String {
    format!("{}000", to_micros(at).max(0))
}

fn status(is_error: bool, reason: &Reason) -> Value {
    match is_error {
        true => json!({ "code": 2, "message": reason.text }),
        false => json!({}),
    }
}

/// The name of an artifact without version: that of the NVR, or of the image without its tag.
fn name_of(artifact: &str) -> &str {
    if artifact.parse::<Nvr>().is_ok() {
        return artifact.rsplitn(3, '-').last().unwrap_or(artifact);
    }
    let path = artifact.rfind('/').map_or(0, |slash| slash + 1);
    let end = artifact[path..].find([':', '@']).map_or(artifact.len(), |at| path + at);
    &artifact[..end]
}

impl<'a> Writer<'a> {
    pub(super) fn new(config: &'a TraceConfig) -> Self {
        Self { config, spans: Vec::new() }
    }

    fn trace(&self, event: EventId) -> String {
        identity(&[&self.config.instance, "event", &event.to_string()], 16)
    }

    fn span(&self, words: &[&str]) -> String {
        let mut all = vec![self.config.instance.as_str(), "span"];
        all.extend(words);
        identity(&all, 8)
    }

    fn event_span(&self, event: EventId) -> String {
        self.span(&["event", &event.to_string()])
    }

    fn build_span(&self, build: BuildId) -> String {
        self.span(&["build", &build.to_string()])
    }

    fn page(&self, path: &str) -> Option<String> {
        self.config.page_url.as_ref().map(|url| format!("{}/{path}", url.trim_end_matches('/')))
    }

    /// Adds the span of an event that has ended.
    pub(super) fn event(&mut self, event: &EventRecord, received: Option<Timestamp>) {
        let Some(done) = event.done_at else { return };
        let result = match event.state {
            EventState::Complete if event.builds_failed > 0 => "failure",
            EventState::Failed => "error",
            EventState::Skipped => "skip",
            EventState::Canceled => "cancellation",
            EventState::Complete | EventState::Initialized | EventState::Building => "success",
        };
        let is_error = matches!(result, "failure" | "error");
        let kind = event.envelope.kind.as_str();
        let id = event.id.to_string();
        let attributes = Attributes::default()
            .text("cicd.pipeline.name", kind)
            .text("cicd.pipeline.action.name", "BUILD")
            .text("cicd.pipeline.run.id", id.as_str())
            .some("cicd.pipeline.run.url.full", self.page(&format!("events/{id}")))
            .text("cicd.pipeline.result", result)
            .some("error.type", is_error.then(|| event.reason.code.clone()))
            .text("freshmaker.reason.code", event.reason.code.as_str())
            .text("freshmaker.search_key", event.envelope.search_key.as_str())
            .text("freshmaker.severity", crate::api::views::name_of(&event.envelope.severity))
            .some("freshmaker.plan.hash", event.plan.as_ref().map(ToString::to_string))
            .number("freshmaker.plan.builds", event.builds_done + event.builds_failed)
            .truth("freshmaker.dry_run", event.mode != BuildMode::Real);
        let start = received.unwrap_or(event.created_at).min(done);
        self.spans.push(Span {
            trace_id: self.trace(event.id),
            span_id: self.event_span(event.id),
            parent_span_id: None,
            name: format!("BUILD {kind}"),
            kind: 2,
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(done),
            attributes: attributes.0,
            links: Vec::new(),
            status: status(is_error, &event.reason),
        });
    }

    /// Adds the spans of a build that has ended: its own and those of its attempts in the trace of
    /// the event that caused it first, and one with a link in the trace of each other event.
    pub(super) fn build(&mut self, build: &BuildRecord, beside: &Beside) {
        let causes = beside.causes.get(&build.id).map_or([].as_slice(), Vec::as_slice);
        let (Some((first, others)), Some(done)) = (causes.split_first(), build.done_at) else { return };
        let result = match build.state {
            BuildState::Reused | BuildState::DependencyFailed => "skip",
            BuildState::Failed => "failure",
            BuildState::Canceled => "cancellation",
            _ => "success",
        };
        let (id, name) = (build.id.to_string(), name_of(build.key.artifact.as_str()));
        let source = build.source.as_ref();
        let attributes = Attributes::default()
            .text("cicd.pipeline.task.name", name)
            .text("cicd.pipeline.task.run.id", id.as_str())
            .some("cicd.pipeline.task.run.url.full", self.page(&format!("builds/{id}")))
            .text("cicd.pipeline.task.type", "build")
            .text("cicd.pipeline.task.run.result", result)
            .some("error.type", (result == "failure").then(|| build.reason.code.clone()))
            .some("vcs.repository.url.full", source.map(|source| source.location.as_str()))
            .some("vcs.ref.head.revision", source.and_then(|source| source.revision.as_deref()))
            .some(
                "oci.manifest.digest",
                build.output.as_ref().and_then(|it| it.digest.as_ref()).map(ToString::to_string),
            )
            .text("freshmaker.artifact", build.key.artifact.as_str())
            .text("freshmaker.build_system", build.key.system.as_str())
            .text("freshmaker.reason.code", build.reason.code.as_str())
            .number("freshmaker.shared.events", others.len() as i64);
        let own = Span {
            trace_id: self.trace(*first),
            span_id: self.build_span(build.id),
            parent_span_id: Some(self.event_span(*first)),
            name: name.to_owned(),
            kind: 1,
            start_time_unix_nano: nanos(build.created_at.min(done)),
            end_time_unix_nano: nanos(done),
            attributes: attributes.0,
            links: Vec::new(),
            status: status(result == "failure", &build.reason),
        };
        for event in others {
            self.spans.push(Span {
                trace_id: self.trace(*event),
                span_id: self.span(&["build", &id, "event", &event.to_string()]),
                parent_span_id: Some(self.event_span(*event)),
                links: vec![json!({ "traceId": own.trace_id, "spanId": own.span_id })],
                ..own.clone()
            });
        }
        for attempt in beside.attempts.get(&build.id).into_iter().flatten() {
            let attempt = self.attempt(attempt, &own, done);
            self.spans.push(attempt);
        }
        self.spans.push(own);
    }

    /// The span of one submission. One that the build system never reported on ended with its
    /// build.
    fn attempt(&self, attempt: &AttemptRecord, build: &Span, build_done: Timestamp) -> Span {
        let done = attempt.observed_at.unwrap_or(build_done);
        let is_error = matches!(attempt.state, AttemptState::Failed | AttemptState::Refused);
        let attributes = Attributes::default()
            .text("freshmaker.build_system", attempt.system.as_str())
            .number("freshmaker.attempt.number", attempt.number)
            .text("freshmaker.attempt.state", attempt.state.as_str())
            .some("freshmaker.external_id", attempt.external.as_ref().map(ToString::to_string))
            .some("error.type", is_error.then(|| attempt.reason.code.clone()));
        Span {
            trace_id: build.trace_id.clone(),
            span_id: self.span(&["attempt", attempt.id.as_str()]),
            parent_span_id: Some(build.span_id.clone()),
            name: format!("submit to {}", attempt.system),
            kind: 3,
            start_time_unix_nano: nanos(attempt.intent_at.min(done)),
            end_time_unix_nano: nanos(done),
            attributes: attributes.0,
            links: Vec::new(),
            status: status(is_error, &attempt.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_version() {
        for (artifact, name) in [
            ("perl-container-5-7", "perl-container"),
            ("registry.example.org:5000/team/app:1.2", "registry.example.org:5000/team/app"),
            ("registry.example.org:5000/team/app", "registry.example.org:5000/team/app"),
            ("team/app@sha256:00", "team/app"),
            ("base", "base"),
            ("", ""),
        ] {
            assert_eq!(name_of(artifact), name);
        }
    }

    #[test]
    fn identities_depend_on_every_word() {
        let one = identity(&["a", "bc"], 16);
        assert_eq!((one.len(), identity(&["a", "bc"], 8).len()), (32, 16));
        assert_eq!(one, identity(&["a", "bc"], 16));
        assert_ne!(one, identity(&["ab", "c"], 16));
    }
}
