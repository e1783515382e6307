//! Each mistake in the configuration is found before anything runs, and named.

use freshmaker::engine::{ConfigError, EngineBuilder};
use freshmaker::{Context, Decision, Engine, HandlerResult};
use freshmaker_testing::world::{Pushed, World};

async fn ignore(_: Pushed, _: Context) -> HandlerResult {
    Ok(Decision::Ignore)
}

fn mistake(builder: EngineBuilder) -> (ConfigError, String) {
    let error = builder.build().unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn what_is_missing_is_named() {
    let world = World::new();
    let bare = Engine::builder().on(ignore).catalog("images", world.catalog.clone());
    assert_eq!(mistake(bare).0, ConfigError::NoStorage);
    let bare = Engine::builder().on(ignore).storage(world.storage.clone());
    assert_eq!(mistake(bare).0, ConfigError::NoCatalog);
    let (error, text) = mistake(world.builder());
    assert_eq!(error, ConfigError::NoHandler);
    assert!(text.contains(".on("), "{text}");
}

#[test]
fn a_bus_has_no_name_of_the_engines_own() {
    for name in ["local", "emitted", "refused"] {
        let (error, text) = mistake(World::new().builder().on(ignore).bus(name, World::new().bus));
        assert_eq!(error, ConfigError::ReservedName(name.into()));
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn what_is_named_twice_is_named() {
    let builder = || World::new().builder().on(ignore);
    for (builder, sort, name) in [
        (builder().bus("bus", World::new().bus), "buses", "bus"),
        (builder().catalog("images", World::new().catalog), "catalogs", "images"),
        (builder().build_system("builder", World::new().builds), "build systems", "builder"),
        (builder().on(ignore), "handlers", "ignore"),
        (builder().on_as("ignore", |_: Pushed, _| async { Ok(Decision::Ignore) }), "handlers", "ignore"),
    ] {
        let (error, text) = mistake(builder);
        assert_eq!(error, ConfigError::Duplicate { sort, name: name.into() });
        assert!(text.contains(sort) && text.contains(name), "{text}");
    }
}

#[test]
fn limits_and_rules_for_nobody_are_named() {
    let (error, _) = mistake(World::new().builder().on(ignore).limit("biulder", 3));
    assert_eq!(error, ConfigError::UnknownSystem("biulder".into()));
    let rules = serde_json::json!({ "handler": { "ingore": { "block": [{ "artifact": "app" }] } } });
    let policy = serde_json::from_value(rules).unwrap();
    let (error, _) = mistake(World::new().builder().on(ignore).policy(policy));
    assert_eq!(error, ConfigError::UnknownHandler("ingore".into()));
}

#[test]
fn a_rule_about_a_fact_that_nothing_adds_is_named() {
    let builder = || {
        let policy = serde_json::from_value(serde_json::json!({ "block": [{ "advisory": "RHSA-.*" }] })).unwrap();
        World::new().builder().on(ignore).policy(policy)
    };
    let (error, text) = mistake(builder());
    assert!(matches!(&error, ConfigError::UnknownFact(fault) if fault.path == "policy.block[0].advisory"), "{error:?}");
    assert!(text.starts_with("policy.block[0].advisory: there is no fact \"advisory\""), "{text}");
    assert!(builder().facts(["advisory"]).build().is_ok(), "a handler declares it");
}

/// A handler with a parameter, whose name must not have it.
struct Only<T>(T);

impl<T> Only<T> {
    async fn ask(_: Pushed, _: Context) -> HandlerResult {
        Ok(Decision::Ignore)
    }
}

#[async_trait::async_trait]
impl<T: Send + Sync + 'static> freshmaker::Handler<Pushed> for Only<T> {
    async fn handle(&self, _: Pushed, _: Context) -> HandlerResult {
        Ok(Decision::Ignore)
    }
}

#[test]
fn a_handler_without_a_name_gets_that_of_its_function_type_or_events() {
    let named = |builder: EngineBuilder| match mistake(builder).0 {
        ConfigError::Duplicate { name, .. } => name,
        other => panic!("{other}"),
    };
    let builder = || World::new().builder();
    assert_eq!(named(builder().on(ignore).on(ignore)), "ignore");
    assert_eq!(named(builder().on(Only(std::sync::Arc::new(1))).on(Only(String::new()))), "Only");
    assert_eq!(named(builder().on(Only::<u8>::ask).on(Only::<u16>::ask)), "ask");
    let closure = || |_: Pushed, _: Context| async { Ok(Decision::Ignore) };
    assert_eq!(named(builder().on(closure()).on(closure())), "test.pushed");
}

#[test]
fn what_nothing_could_be_done_with_is_refused() {
    use freshmaker::rebuild::Limits;
    use std::time::Duration;

    /// As [`Pushed`], with another content.
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Other {
        number: u32,
    }
    impl freshmaker::Event for Other {
        const KIND: &'static str = "test.pushed";
    }
    async fn count(_: Other, _: Context) -> HandlerResult {
        Ok(Decision::Ignore)
    }
    let builder = || World::new().builder().on_as("one", ignore);
    let (error, text) = mistake(builder().on_as("other", count));
    assert_eq!(error, ConfigError::Kind { kind: "test.pushed", handlers: ["one".into(), "other".into()] });
    assert!(text.contains("as two types"), "{text}");
    for name in ["", " ", "a\nb", "b\0", " c"] {
        assert_eq!(mistake(builder().bus(name, World::new().bus)).0, ConfigError::Name(name.into()));
        assert_eq!(mistake(builder().replica(name)).0, ConfigError::Name(name.into()));
        assert_eq!(mistake(builder().on_as(name, ignore)).0, ConfigError::Name(name.into()));
    }
    assert_eq!(mistake(builder().call_timeout(Duration::ZERO)).0, ConfigError::Zero("call_timeout"));
    let mut limits = Limits::default();
    limits.message_tries_max = 0;
    assert_eq!(mistake(builder().limits(limits)).0, ConfigError::Zero("message_tries_max"));
}
