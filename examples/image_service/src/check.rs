//! Whether the configuration is valid, and whether everything that it names exists.

use crate::args::Directory;
use crate::ask::line;
use crate::site::Site;
use crate::tree::from_each_other;
use crate::watch::followed;
use crate::{Outcome, Result, hooks, live::Read, say, traces, web};
use freshmaker::backend::Remedy;
use freshmaker_local::command::CommandConfig;
use freshmaker_web::TraceExporter;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use std::fmt::Display;
use std::net::TcpListener;
use std::path::Path;

/// How many registries are asked side by side.
const PARALLEL: usize = 8;

#[derive(Serialize)]
struct Finding {
    what: String,
    state: &'static str,
    text: String,
}

/// Collects what was looked at; one failure does not hide the next.
#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add<T: Display>(&mut self, what: &str, outcome: std::result::Result<T, impl Display>) {
        let (state, text) = match outcome {
            Ok(text) => ("ok", text.to_string()),
            Err(error) => ("FAILED", error.to_string()),
        };
        self.0.push(Finding { what: what.to_owned(), state, text });
    }

    fn warn(&mut self, what: &str, text: impl Display) {
        self.0.push(Finding { what: what.to_owned(), state: "warning", text: text.to_string() });
    }
}

pub(crate) async fn run(directory: &Directory, online: bool) -> Result<Outcome> {
    let mut report = Report::default();
    match Site::open(&directory.path) {
        Err(error) => report.add::<&str>("configuration", Err(error)),
        Ok(site) => {
            report.add("configuration", Ok::<_, String>(site.directory.display()));
            offline(&mut report, &site);
            let collector = collector(&mut report, &site);
            if let Some(exporter) = collector.filter(|_| online) {
                report.add("collector of traces", exporter.check().await.map(|()| "takes spans"));
            }
            if online {
                self::online(&mut report, &site).await;
            }
        }
    }
    let failed = report.0.iter().any(|finding| finding.state == "FAILED");
    if directory.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report.0)?))?;
    } else {
        let mut text = String::new();
        report
            .0
            .iter()
            .for_each(|finding| line(&mut text, &format!("{:<8}{}: {}", finding.state, finding.what, finding.text)));
        say(&text)?;
    }
    Ok(if failed { Outcome::Failed } else { Outcome::Good })
}

fn offline(report: &mut Report, site: &Site) {
    match site.catalog() {
        Err(error) if !site.checkouts().is_empty() => report.warn("tree", error),
        Err(error) => report.add::<&str>("tree", Err(error)),
        Ok(catalog) => {
            let own = catalog.graph().artifacts().filter(|artifact| artifact.buildable());
            let (nowhere, own): (Vec<_>, Vec<_>) =
                own.partition(|artifact| artifact.id.as_str().starts_with("localhost/"));
            match own.len() + nowhere.len() {
                0 => report.add::<&str>("tree", Err("it has no images, so nothing would be kept fresh")),
                count => report.add("tree", Ok::<_, String>(format!("{count} images"))),
            }
            catalog.problems().iter().for_each(|problem| report.warn("tree", problem));
            for cycle in catalog.graph().cycles() {
                report.add::<&str>("tree", Err(from_each_other(&cycle)));
            }
            if let Some(image) = nowhere.first() {
                let text = format!("{} is in no registry: [tree] has no `image`", image.id);
                report.add::<&str>("names", Err(text));
            }
        }
    }
    report.add("state", writable(&site.config.state));
    programs(report, site);
    report.add("registries", site.registries().map(|_| "their entries make sense"));
    interfaces(report, site);
}

/// Returns the directory that may be written, or would be made in one that may.
fn writable(state: &Path) -> std::result::Result<String, String> {
    let there = state.ancestors().find(|path| path.exists()).unwrap_or(state);
    let access = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    access.map(|()| state.display().to_string()).map_err(|error| format!("{}: {error}", there.display()))
}

/// Looks for all that is run.
fn programs(report: &mut Report, site: &Site) {
    let build = &site.config.build;
    let mut commands = Vec::new();
    match &build.elsewhere {
        None => commands.push(("build.program", build.program.as_str())),
        // Nothing is built here.
        Some(elsewhere) => {
            if let Some(file) = elsewhere.clone().token_file() {
                report.add("build.elsewhere.token_file", read(file));
            }
        }
    }
    let of = [("build.test", &build.test), ("build.sign", &build.sign), ("build.attest", &build.attest)];
    commands.extend(of.into_iter().filter_map(|(key, command)| Some((key, command.first()?.as_str()))));
    for (key, program) in commands {
        // A path is relative to the directory of each Containerfile.
        let is_relative = program.contains('/') && !program.starts_with('/');
        match CommandConfig::new(program, site.attempts()).find_program() {
            _ if is_relative => {
                report.warn(key, format!("{program} is looked for in the directory of each Containerfile"))
            }
            found => report.add(key, found.map(|path| path.display().to_string())),
        }
    }
    for program in site.config.notify.iter().filter_map(|notify| notify.program(&site.directory)) {
        let found = CommandConfig::new(program, site.attempts()).find_program();
        report.add("notify.command", found.map(|path| path.display().to_string()));
    }
}

/// Looks at what others reach.
fn interfaces(report: &mut Report, site: &Site) {
    let hooks = &site.config.hooks;
    if let Some(file) = &hooks.git_secret_file {
        report.add("hooks.git_secret_file", hooks::secret(hooks).map(|_| file.display().to_string()));
    }
    let has_hooks = hooks.git_secret_file.is_some() || !hooks.fetch.is_empty();
    let config = web::config(site);
    if let Ok(Some((_, config))) = &config {
        config.warnings().iter().for_each(|warning| report.warn("web", warning));
    }
    match config {
        Ok(None) if has_hooks => report.add::<&str>("hooks", Err("without a section [web], none of them is served")),
        Ok(None) => {}
        // The service itself may have the address.
        Ok(Some((listen, _))) if is_running(site) => report.add("web", Ok::<_, String>(listen)),
        Ok(Some((listen, _))) => {
            let bound = TcpListener::bind(listen);
            report.add("web", bound.map(|_| listen).map_err(|error| format!("{listen}: {error}")));
        }
        Err(error) => report.add::<&str>("web", Err(error)),
    }
}

/// Looks at where traces are sent, and returns what asks there.
fn collector(report: &mut Report, site: &Site) -> Option<TraceExporter> {
    let checked = traces::checked(site.config.otel.as_ref());
    match &checked {
        Ok(None) => {}
        Ok(Some(_)) => report.add("otel", Ok::<_, String>("its section makes sense")),
        Err(error) => report.add::<&str>("otel", Err(error)),
    }
    checked.ok().flatten()
}

/// Whether a service runs here. Nothing is made if none ever has.
fn is_running(site: &Site) -> bool {
    site.database().is_file() && site.lock().is_err()
}

fn read(file: &Path) -> std::result::Result<String, String> {
    let place = file.display();
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Err(format!("{place}: it is empty")),
        Ok(_) => Ok(place.to_string()),
        Err(error) => Err(format!("{place}: {error}")),
    }
}

/// Asks for all tags that the service would ask for.
async fn online(report: &mut Report, site: &Site) {
    for checkouts in site.checkouts() {
        report.add(checkouts.url(), checkouts.ask().await.map(|commit| format!("the branch is at {commit}")));
    }
    let (Ok(catalog), Ok(registries)) = (site.catalog(), site.registries()) else { return };
    let own: Vec<_> = catalog.graph().artifacts().filter(|artifact| artifact.buildable()).cloned().collect();
    let read = Read { files: catalog, ..Read::default() };
    let asking = followed(&read).into_iter().map(|image| {
        let registries = &registries;
        async move {
            let answer = registries.head(&image).await;
            (image, answer)
        }
    });
    let answers: Vec<_> = stream::iter(asking).buffered(PARALLEL).collect().await;
    for (image, answer) in answers {
        let is_own = own.iter().any(|artifact| artifact.id.as_str() == image.to_string());
        match answer {
            Err(error) if is_own && error.remedy == Remedy::NotFound => {
                report.add(&image.familiar(), Ok::<_, String>("not there yet, so it will be built"));
            }
            answer => report.add(&image.familiar(), answer),
        }
    }
}
