//! Messages in the words of services.

use crate::each;
use freshmaker::backend::Paging;
use freshmaker::rebuild::EventState;
use freshmaker::{Context, Decision, HandlerResult};
use freshmaker_redhat::messages::{self, koji::ContainerTaskChanged};
use freshmaker_testing::world::{events, message, only};

async fn ended(event: ContainerTaskChanged, _: Context) -> HandlerResult {
    Ok(Decision::Skip(format!("{} is {}", event.container, event.new.name())))
}

#[tokio::test(start_paused = true)]
async fn messages_in_the_words_of_services_are_read_as_far_as_somebody_wants_them() {
    const TASK: &str = "/topic/VirtualTopic.eng.brew.task.closed";
    let body = |method: &str, id: &str| {
        let request = r#"["git://h/containers/nginx#abc", "target", {"git_branch": "b"}]"#;
        format!(r#"{{"new": "CLOSED", "info": {{"id": {id}, "method": "{method}", "request": {request}}}}}"#)
    };
    for world in each() {
        let engine = world.builder().on(ended).parsers(messages::parsers(["VirtualTopic.eng"])).build().unwrap();
        let broken = message("m2", TASK, &body("buildContainer", "true"));
        let unwanted = [
            message("m3", TASK, &body("buildArch", "8")),
            message("m4", "VirtualTopic.eng.buildsys.task.state.change", "\u{1}"),
            message("m5", "VirtualTopic.stage.brew.task.closed", "\u{1}"),
        ];
        world.bus.send(message("m1", TASK, &body("buildContainer", "7")));
        world.bus.send(broken.clone());
        for message in &unwanted {
            world.bus.send(message.clone());
        }
        world.settle(&engine).await;
        let client = engine.client();
        let (state, _, text) = only(&client).await;
        assert_eq!((state, text.as_str()), (EventState::Skipped, "nginx is CLOSED"));
        assert_eq!(events(&client).await[0].envelope.search_key, "7");
        let dead = client.dead_letters(Paging::first(10)).await.unwrap().items;
        assert_eq!(dead.iter().map(|dead| &dead.message).collect::<Vec<_>>(), [&broken]);
        let reason = dead[0].reason.as_ref().unwrap();
        assert_eq!(reason.code, "malformed");
        assert!(reason.text.contains("m2") && reason.text.contains(": info.id: expected a whole number"), "{reason}");
        for message in &unwanted {
            assert_eq!(world.storage.reads().message("bus", &message.id).await.unwrap(), None, "{message:?}");
        }
    }
}
