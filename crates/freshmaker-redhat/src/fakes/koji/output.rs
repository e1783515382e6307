//! Files that tasks and builds create.

use super::builds::{Build, Rpm};
use super::hub::page;
use super::tasks::one;
use super::values::{Answer, Args, Fault, json, list, record, seconds, text, texts};
use super::world::World;
use crate::koji::xmlrpc::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshmaker_testing::http::Reply;
use serde_json::json;

/// Answers the calls about output of tasks; `None` for other methods.
pub(super) fn call(world: &World, method: &str, params: &[Value]) -> Option<Answer> {
    let bind = |names, required| Args::bind(method, names, required, params.to_vec());
    Some(match method {
        "listTaskOutput" => bind(&["taskID", "stat", "all_volumes", "strict"], 1).and_then(|args| {
            let task = one(world, &args, "taskID")?;
            if args.flag("all_volumes") && !args.flag("stat") {
                let volumes = |name: &String| (name.clone(), texts(["DEFAULT"]));
                return Ok(Value::Struct(task.output.keys().map(volumes).collect()));
            }
            if !args.flag("stat") {
                return Ok(texts(task.output.keys().cloned()));
            }
            let at = || seconds(task.started.unwrap_or(world.now));
            let stat = |bytes: &Vec<u8>| {
                let size = text(bytes.len().to_string());
                record([("st_atime", at()), ("st_ctime", at()), ("st_mtime", at()), ("st_size", size)])
            };
            Ok(Value::Struct(task.output.iter().map(|(name, bytes)| (name.clone(), stat(bytes))).collect()))
        }),
        "downloadTaskOutput" => bind(&["taskID", "fileName", "offset", "size", "volume"], 2).and_then(|args| {
            let (task, name) = (one(world, &args, "taskID")?, args.text("fileName")?);
            let Some(bytes) = task.output.get(name) else {
                return Err(Fault::generic(format!("no file \"{name}\" output by task {}", task.id)));
            };
            let offset = usize::try_from(args.optional_id("offset")?.unwrap_or(0)).unwrap_or(0).min(bytes.len());
            let most = bytes.len() - offset;
            let size = usize::try_from(args.optional_id("size")?.unwrap_or(-1)).map_or(most, |size| size.min(most));
            Ok(text(STANDARD.encode(&bytes[offset..offset + size])))
        }),
        "listBuildroots" => Ok(list([])),
        _ => return None,
    })
}

/// Returns a file below `/kojifiles`. The only files are the metadata of the content generator.
pub(super) fn file(world: &World, path: &str) -> Reply {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let build = match parts[..] {
        ["kojifiles", "packages", name, version, release, "metadata.json"] => {
            world.builds.by_name(&format!("{name}-{version}-{release}")).filter(|build| build.digest.is_some())
        }
        _ => None,
    };
    match build {
        None => page(404, "Not Found"),
        Some(build) => {
            Reply::new(200).with_header("content-type", "application/json").with_body(metadata(build).to_string())
        }
    }
}

fn metadata(build: &Build) -> serde_json::Value {
    let output: Vec<_> = build.archives.iter().map(|archive| {
        let component = |rpm: &Rpm| {
            json!({
                "type": "rpm", "name": rpm.nvr.name(), "version": rpm.nvr.version(), "release": rpm.nvr.release(),
                "epoch": rpm.nvr.epoch(), "arch": rpm.arch, "sigmd5": "7684cd89799fcf98920bf7e4f691cffd", "signature": null,
            })
        };
        json!({
            "type": "docker-image", "arch": archive.arch, "buildroot_id": 1, "filename": build.filename(archive),
            "filesize": 1800, "checksum_type": "md5", "checksum": &build.manifest(&archive.arch)[7..39],
            "extra": {"image": {"arch": archive.arch}, "docker": json(&build.docker(archive))},
            "components": archive.installed.iter().map(component).collect::<Vec<_>>(),
        })
    }).collect();
    json!({
        "metadata_version": 0,
        "build": {
            "name": build.nvr.name(), "version": build.nvr.version(), "release": build.nvr.release(),
            "source": build.source, "start_time": build.started.timestamp(), "end_time": build.completed.timestamp(),
            "owner": null, "extra": json(&build.extra()),
        },
        "buildroots": [{
            "id": 1, "host": {"os": "Linux", "arch": "x86_64"}, "container": {"type": "docker", "arch": "x86_64"},
            "content_generator": {"name": "atomic-reactor", "version": "4.0"}, "tools": [], "components": [],
        }],
        "output": output,
    })
}
