//! Whether the configuration makes sense, and whether everybody it names is there and lets us in.

use crate::Result;
use crate::config::Config;
use crate::wires;
use freshmaker::backend::{BuildSystem, Error, Remedy};
use freshmaker_amqp::AmqpBus;
use freshmaker_redhat::koji::{self, KojiBuildSystem};
use freshmaker_redhat::odcs::OdcsComposer;
use std::fmt::Display;
use std::path::Path;

/// Collects what was looked at; one failure does not hide the next.
struct Report(bool);

impl Report {
    fn line<T: Display>(&mut self, what: &str, outcome: std::result::Result<T, impl Display>) {
        match outcome {
            Ok(text) => println!("ok      {what}: {text}"),
            Err(error) => {
                self.0 = false;
                println!("FAILED  {what}: {error}");
            }
        }
    }
}

pub(crate) async fn run(path: &Path, online: bool) -> Result<bool> {
    let mut report = Report(true);
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            report.line::<&str>("configuration", Err(error));
            return Ok(false);
        }
    };
    report.line("configuration", Ok::<_, Error>(path.display()));
    let catalog = wires::catalog(&config.catalog);
    report.line("catalog", catalog.map(|catalog| format!("{} artifacts", catalog.graph().len())));
    let bus = wires::amqp(&config);
    report
        .line("fedora_messaging", bus.as_ref().map(|bus| bus.as_ref().map_or("not used", |_| "its file makes sense")));
    let hub = wires::hub(&config);
    report.line("koji", hub.as_ref().map(|hub| &hub.config.http.url));
    if online {
        if let Ok(Some(bus)) = bus {
            let made = !bus.passive_declares;
            for check in AmqpBus::new(bus)?.check().await {
                let outcome = match check.outcome {
                    Err(error) if made && error.remedy == Remedy::NotFound => Ok("is not there yet; it will be made"),
                    outcome => outcome.map(|()| "is there"),
                };
                report.line(&check.what, outcome);
            }
        }
        if let Ok(hub) = hub {
            report.line("koji login", login(hub.config).await);
        }
        if let Some(odcs) = wires::odcs(&config) {
            let about = OdcsComposer::new(odcs.config)?.check().await;
            report.line("odcs", about.map(|about| format!("{about:?}")));
        }
    }
    Ok(report.0)
}

/// Opens a session, and closes it again.
async fn login(hub: koji::Config) -> std::result::Result<String, Error> {
    let builds = KojiBuildSystem::new(hub)?;
    let Some(session) = builds.session().await? else { return Ok("anonymous: it cannot build".to_owned()) };
    builds.fence(&session).await?;
    Ok(format!("logged in, and out of session {session} again"))
}
