//! Tags and targets: each target has a tag to build in and a tag for its builds.

use super::builds::found;
use super::values::{Answer, Args, Fault, int, list, plain, query, quoted, record, text, with};
use super::world::World;
use crate::koji::xmlrpc::Value;
use std::collections::BTreeSet;

impl World {
    fn tags(&self) -> Vec<String> {
        let of_targets = |target: &String| [format!("{target}-build"), format!("{target}-candidate")];
        self.targets.iter().flat_map(of_targets).chain(self.more_tags.iter().cloned()).collect()
    }

    pub(super) fn tag_id(&self, tag: &str) -> Option<i64> {
        let place = self.tags().iter().position(|it| it == tag)?;
        i64::try_from(place).ok().map(|place| place + 1)
    }

    fn tag(&self, args: &Args, name: &str) -> Result<Option<String>, Fault> {
        match args.get(name) {
            Value::Text(tag) => Ok(self.tags().into_iter().find(|it| it == tag)),
            _ => {
                let id = args.id(name)?;
                Ok(self.tags().into_iter().find(|tag| self.tag_id(tag) == Some(id)))
            }
        }
    }

    fn told_tag(&self, tag: &str) -> Value {
        record([
            ("arches", text(if tag.ends_with("-build") { "x86_64 aarch64" } else { "" })),
            ("id", int(self.tag_id(tag).unwrap_or_default())),
            ("locked", Value::Bool(false)),
            ("maven_include_all", Value::Bool(false)),
            ("maven_support", Value::Bool(false)),
            ("name", text(tag)),
            ("perm", Value::Nil),
            ("perm_id", Value::Nil),
        ])
    }

    fn told_target(&self, target: &str) -> Value {
        let (build, dest) = (format!("{target}-build"), format!("{target}-candidate"));
        let id = self.targets.iter().position(|it| it == target).and_then(|place| i64::try_from(place).ok());
        record([
            ("build_tag", int(self.tag_id(&build).unwrap_or_default())),
            ("build_tag_name", text(build)),
            ("dest_tag", int(self.tag_id(&dest).unwrap_or_default())),
            ("dest_tag_name", text(dest)),
            ("id", int(id.unwrap_or_default() + 1)),
            ("name", text(target)),
        ])
    }
}

/// Answers the calls about tags and targets; `None` for other methods.
pub(super) fn call(world: &World, method: &str, params: &[Value]) -> Option<Answer> {
    let bind = |names, required| Args::bind(method, names, required, params.to_vec());
    Some(match method {
        "getBuildTarget" => bind(&["info", "event", "strict"], 1).and_then(|args| {
            let target = match args.get("info") {
                Value::Text(name) => world.targets.iter().find(|target| *target == name),
                _ => usize::try_from(args.id("info")? - 1).ok().and_then(|place| world.targets.get(place)),
            };
            match target {
                Some(target) => Ok(world.told_target(target)),
                None if args.flag("strict") => {
                    Err(Fault::generic(format!("No such build target: {}", plain(args.get("info")))))
                }
                None => Ok(Value::Nil),
            }
        }),
        "getBuildTargets" => bind(&["info", "event", "buildTagID", "destTagID", "queryOpts"], 0).map(|args| {
            let wanted = |target: &&String| match args.get("info") {
                Value::Text(name) => *target == name,
                _ => true,
            };
            let rows = world.targets.iter().filter(wanted).map(|target| world.told_target(target));
            query(rows.collect(), args.get("queryOpts"))
        }),
        "getTag" => {
            bind(&["tagInfo", "strict", "event", "blocked"], 1).and_then(|args| match world.tag(&args, "tagInfo")? {
                Some(tag) => Ok(with(world.told_tag(&tag), [("extra", record([]))])),
                None if args.flag("strict") => {
                    Err(Fault::generic(format!("No such tagInfo: {}", quoted(args.get("tagInfo")))))
                }
                None => Ok(Value::Nil),
            })
        }
        "listTags" => bind(&["build", "package", "perms", "queryOpts", "pattern"], 0).and_then(|args| {
            let tags = match args.get("build") {
                Value::Nil => world.tags(),
                _ => match found(world, &args, "build")? {
                    Some(build) => world.tags_of(build),
                    None => return Err(Fault::generic(format!("No such build: {}", plain(args.get("build"))))),
                },
            };
            Ok(query(tags.iter().map(|tag| world.told_tag(tag)).collect(), args.get("queryOpts")))
        }),
        "getLatestBuilds" => {
            bind(&["tag", "event", "package", "type", "draft"], 1).and_then(|args| tagged(world, &args, Which::Latest))
        }
        "listTagged" => {
            let names = &[
                "tag", "event", "inherit", "prefix", "latest", "package", "owner", "type", "strict", "extra", "draft",
            ];
            bind(names, 1).and_then(|args| {
                let which = if args.flag("latest") { Which::Latest } else { Which::All };
                tagged(world, &args, which)
            })
        }
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Latest,
}

fn tagged(world: &World, args: &Args, which: Which) -> Answer {
    let Some(tag) = world.tag(args, "tag")? else {
        return Err(Fault::generic(match which {
            Which::All => format!("No such tagInfo: {}", quoted(args.get("tag"))),
            Which::Latest => format!("No such entry in table tag: {}", plain(args.get("tag"))),
        }));
    };
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    // Newest first.
    for (package, row) in world.builds_in(&tag).into_iter().rev() {
        let wanted = if let Value::Text(name) = args.get("package") { name == package } else { true };
        if wanted && (seen.insert(package) || which == Which::All) {
            rows.push(row);
        }
    }
    Ok(list(rows))
}
