//! A service in virtual time: messages in, and everything that comes of them.

use freshmaker::artifact::Parameter;
use freshmaker::backend::{BuildRequest, EventFilter, Paging};
use freshmaker::client::Client;
use freshmaker::engine::EngineBuilder;
use freshmaker::event::Event;
use freshmaker::rebuild::EventRecord;
use freshmaker::{Engine, Message};
use freshmaker_redhat::handlers::FACTS;
use freshmaker_redhat::messages;
use freshmaker_testing::world::{World, builds, events};
use serde_json::Value;

pub(super) const PREFIX: &str = "VirtualTopic.eng";

/// A service with these handlers.
pub(super) struct Service {
    pub(super) world: World,
    pub(super) engine: Engine,
}

impl Service {
    pub(super) fn new(configure: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        Self::of(World::new(), configure)
    }

    /// The same in this world.
    pub(super) fn of(world: World, configure: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let builder = world.builder().parsers(messages::parsers([PREFIX])).facts(FACTS);
        let engine = configure(builder).build().unwrap();
        Self { world, engine }
    }

    pub(super) fn client(&self) -> Client {
        self.engine.client()
    }

    /// Delivers messages, and lets everything happen that comes of them.
    pub(super) async fn deliver(&self, messages: impl IntoIterator<Item = Message>) {
        messages.into_iter().for_each(|message| self.world.bus.send(message));
        self.world.settle(&self.engine).await;
    }

    /// What was submitted, in order: name, source, target, parameters, and the rebuilt parents.
    pub(super) fn submissions(&self) -> Vec<String> {
        let requests = self.world.builds.requests();
        let of = |(count, request)| submission(request, &requests[..count]);
        requests.iter().enumerate().map(of).collect()
    }

    /// Kind, state and reason of all events, oldest first.
    pub(super) async fn events(&self) -> Vec<String> {
        let told = |event: &EventRecord| format!("{} {}: {}", event.envelope.kind, event.state, event.reason.text);
        events(&self.client()).await.iter().map(told).collect()
    }

    /// All builds with their states, oldest first.
    pub(super) async fn builds(&self) -> Vec<String> {
        builds(&self.client()).await
    }

    /// Topic and new state of all messages that were sent.
    pub(super) fn said(&self) -> Vec<String> {
        let told = |message: &Message| {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            format!("{} {}", message.topic, body["state"].as_str().unwrap_or("?"))
        };
        self.world.bus.published().iter().map(told).collect()
    }

    /// The plan of the newest event: why each image is in, and why others are not.
    pub(super) async fn reasons(&self) -> Vec<String> {
        let client = self.client();
        let newest = client.events(EventFilter::default(), Paging::first(1)).await.unwrap().items.remove(0);
        let Some(plan) = client.plan(newest.id).await.unwrap() else { return Vec::new() };
        let nodes = plan.nodes().map(|node| {
            let why = node.impediment.as_ref().or(node.asked.as_ref()).unwrap();
            format!("{}: {} ({})", node.artifact.id, why.code, why.text)
        });
        let others = plan.exclusions().map(|(id, why)| format!("{id}: not, {} ({})", why.code, why.text));
        nodes.chain(others).collect()
    }
}

fn submission(request: &BuildRequest, earlier: &[BuildRequest]) -> String {
    let source = request.source.as_ref().unwrap();
    let parameters = request.parameters.iter().map(|(name, value)| match value {
        Parameter::Text(text) => format!(" {name}={text}"),
        Parameter::Set(texts) => format!(" {name}={}", texts.iter().cloned().collect::<Vec<_>>().join(",")),
        other => format!(" {name}={other:?}"),
    });
    let parents = request.parents.iter().map(|parent| {
        let rebuilt = earlier.iter().any(|other| other.artifact == parent.id);
        let made = if rebuilt { "rebuilt " } else { "" };
        format!(" on {made}{}", parent.id)
    });
    format!(
        "{} from {}#{} for {}{}{}",
        request.artifact,
        source.location,
        source.revision.as_deref().unwrap_or("?"),
        if request.target.is_empty() { "?" } else { &request.target },
        parameters.collect::<String>(),
        parents.collect::<String>()
    )
}

/// A message of a bus with this topic after the prefix.
pub(super) fn message(id: &str, topic: &str, body: &Value) -> Message {
    freshmaker_testing::world::message(id, &format!("{PREFIX}.{topic}"), &body.to_string())
}

/// A message that carries this event, as handlers emit it.
pub(super) fn carrying<E: Event>(id: &str, event: &E) -> Message {
    Message::of(id, event).unwrap()
}
