use super::xmlrpc::{Request, Value};
use freshmaker::artifact::{ArtifactKind, Nvr, Parameter};
use freshmaker::backend::{BuildRequest, Error, Remedy, Result};
use freshmaker::graph::EdgeKind;
use freshmaker::plan::PlanParent;
use freshmaker::rebuild::BuildMode;
use std::collections::{BTreeMap, BTreeSet};

/// Name of the member that holds the attempt's marker.
const MARKER: &str = "fm_attempt";

/// The form of an option of a build.
#[derive(Clone, Copy)]
enum Form {
    Flag,
    Text,
    Number,
    Texts,
    Numbers,
}

/// Options of `buildContainer` that are parameters. This crate decides the options `scratch` and
/// `userdata` itself.
const IMAGE_OPTIONS: [(&str, Form); 11] = [
    ("arch_override", Form::Text),
    ("compose_ids", Form::Numbers),
    ("dependency_replacements", Form::Texts),
    ("flatpak", Form::Flag),
    ("git_branch", Form::Text),
    ("isolated", Form::Flag),
    ("koji_parent_build", Form::Text),
    ("operator_csv_modifications_url", Form::Text),
    ("release", Form::Text),
    ("signing_intent", Form::Text),
    ("yum_repourls", Form::Texts),
];

/// Options of `build` that are parameters.
const PACKAGE_OPTIONS: [(&str, Form); 6] = [
    ("arch_override", Form::Text),
    ("fail_fast", Form::Flag),
    ("repo_id", Form::Number),
    ("skip_tag", Form::Flag),
    ("wait_builds", Form::Texts),
    ("wait_repo", Form::Flag),
];

/// Returns the method that builds artifacts of this kind.
pub(crate) fn method(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Image => "buildContainer",
        ArtifactKind::Rpm | ArtifactKind::Module | ArtifactKind::ImageRepository | ArtifactKind::Repository => "build",
    }
}

/// Returns the marker in the decoded request of a listed task.
pub(crate) fn marker(task: &Value) -> Option<&str> {
    let Value::Struct(members) = task else { return None };
    let Value::Array(request) = members.get("request")? else { return None };
    marker_in(request)
}

/// Returns the marker in the request of a task.
pub(crate) fn marker_in(request: &[Value]) -> Option<&str> {
    let options = request.get(2)?;
    ["userdata", "custom_user_metadata"].iter().find_map(|holder| options.get(&[holder, MARKER]).ok())
}

/// Returns the call that starts this attempt.
///
/// The `release` of an image is the part of its release up to the first dot (from the parameter
/// `release`, else from its id if that is an NVR), a dot, the release of the attempt, and the
/// configured suffix: `5.1700000000`. Without either the option is left out, and the build system
/// chooses a release.
pub(crate) fn submission(request: &BuildRequest, suffix: &str) -> Result<Request> {
    let method = method(request.kind);
    let wrong = |text: String| Error::new(Remedy::Rejected, format!("{method} of {}", request.artifact), text);
    let source = request.source.as_ref().ok_or_else(|| wrong("it has no source".to_owned()))?;
    let place = match &source.revision {
        Some(revision) => format!("{}#{revision}", source.location),
        None => source.location.clone(),
    };
    if request.target.is_empty() {
        return Err(wrong("it has no target".to_owned()));
    }
    let image = request.kind == ArtifactKind::Image;
    let mut options = parameters(request, if image { &IMAGE_OPTIONS } else { &PACKAGE_OPTIONS }).map_err(wrong)?;
    if request.mode == BuildMode::Scratch {
        options.insert("scratch".to_owned(), true.into());
    }
    if image {
        parents(&request.parents, &mut options).map_err(wrong)?;
        release(request, suffix, &mut options);
        let isolated = options.get("isolated") == Some(&Value::Bool(true));
        if !isolated && request.mode != BuildMode::Scratch {
            // Koji refuses this option for builds that others may be built on.
            options.remove("arch_override");
        }
    }
    let marker = [(MARKER, request.attempt.as_str().into()), ("fm_build", request.build.0.into())];
    options.insert(if image { "userdata" } else { "custom_user_metadata" }.to_owned(), Value::record(marker));
    Ok(Request::new(method, vec![place.into(), request.target.as_str().into(), Value::Struct(options)]))
}

fn parameters(request: &BuildRequest, known: &[(&str, Form)]) -> Result<BTreeMap<String, Value>, String> {
    let mut options = BTreeMap::new();
    for (name, parameter) in request.parameters.iter() {
        let Some(&(_, form)) = known.iter().find(|(known, _)| *known == name) else {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            return Err(format!("the parameter `{name}` is none of {}", names.join(", ")));
        };
        let value = option(form, parameter).map_err(|wanted| format!("the parameter `{name}` is not {wanted}"))?;
        options.insert(name.to_owned(), value);
    }
    Ok(options)
}

fn option(form: Form, parameter: &Parameter) -> Result<Value, &'static str> {
    let number = |text: &String| text.parse().map(Value::Int).map_err(|_| "a set of numbers");
    match (form, parameter) {
        (Form::Flag, Parameter::Flag(flag)) => Ok((*flag).into()),
        (Form::Number, Parameter::Number(number)) => Ok((*number).into()),
        (Form::Text, Parameter::Text(text)) => Ok(text.as_str().into()),
        (Form::Texts, Parameter::Set(set)) => Ok(set.iter().cloned().collect::<Vec<_>>().into()),
        (Form::Numbers, Parameter::Set(set)) => set.iter().map(number).collect::<Result<_, _>>().map(Value::Array),
        (Form::Numbers, Parameter::Number(number)) => Ok(vec![*number].into()),
        (Form::Flag, _) => Err("a flag"),
        (Form::Number, _) => Err("a number"),
        (Form::Text, _) => Err("a text"),
        (Form::Texts, _) => Err("a set of texts"),
        (Form::Numbers, _) => Err("a set of numbers"),
    }
}

/// Adds rebuilt parents to the options: the parent image by its NVR, repositories by the number of
/// their compose or by their URL.
fn parents(parents: &[PlanParent], options: &mut BTreeMap<String, Value>) -> Result<(), String> {
    let mut composes = BTreeSet::new();
    let mut urls = BTreeSet::new();
    for parent in parents {
        let Some(name) = parent.name.as_deref().filter(|name| !name.is_empty()) else { continue };
        if parent.kinds.contains(&EdgeKind::ParentImage) {
            options.entry("koji_parent_build".to_owned()).or_insert_with(|| name.into());
        }
        if parent.kinds.contains(&EdgeKind::Repository) {
            match name.parse::<i64>() {
                Ok(compose) => drop(composes.insert(compose)),
                Err(_) if name.contains("://") => drop(urls.insert(name)),
                Err(_) => return Err(format!("the repository {} is `{name}`, not a compose or a URL", parent.id)),
            }
        }
    }
    unite(options, "compose_ids", composes.into_iter().map(Value::Int));
    unite(options, "yum_repourls", urls.into_iter().map(Value::from));
    Ok(())
}

fn unite(options: &mut BTreeMap<String, Value>, name: &str, more: impl Iterator<Item = Value>) {
    let mut items = match options.remove(name) {
        Some(Value::Array(items)) => items,
        Some(_) | None => Vec::new(),
    };
    for item in more {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    if !items.is_empty() {
        options.insert(name.to_owned(), Value::Array(items));
    }
}

fn release(request: &BuildRequest, suffix: &str, options: &mut BTreeMap<String, Value>) {
    let given = match options.remove("release") {
        Some(Value::Text(release)) => Some(release),
        Some(_) | None => request.artifact.as_str().parse::<Nvr>().ok().map(|nvr| nvr.release().to_owned()),
    };
    if let Some(given) = given {
        let stem = given.split('.').next().unwrap_or_default();
        options.insert("release".to_owned(), format!("{stem}.{}{suffix}", request.release).into());
    }
}
