//! Reads which images a Containerfile is built from.

use super::lines::{self, Prepared};
use super::words::{self, ANY, Value};
use freshmaker::artifact::ImageReference;
use freshmaker::graph::EdgeKind;
use parse_dockerfile::{ArgInstruction, Flag, Instruction};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The images that a Containerfile uses, and problems with its references.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker_local::files::containerfile::parse;
///
/// let recipe = parse(
///     "ARG GO=1.25\nFROM golang:$GO AS build\nFROM alpine\nCOPY --from=build /app /app\n",
/// )?;
/// let images: Vec<_> =
///     recipe.images.iter().map(|used| (used.image.familiar(), used.edge())).collect();
/// assert_eq!(images, [
///     ("golang:1.25".to_owned(), Ok(EdgeKind::BuilderStage)),
///     ("alpine:latest".to_owned(), Ok(EdgeKind::ParentImage)),
/// ]);
/// # Ok::<(), freshmaker_local::files::containerfile::Problem>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recipe {
    /// All images that the file uses, except stages of the file itself, by line.
    pub images: Vec<UsedImage>,
    /// References that cannot be resolved, by line. They are not among the images.
    pub problems: Vec<Problem>,
    /// The value of `# freshmaker: image=…` before the first instruction, with its line: the image
    /// that the file builds.
    pub names: Option<(usize, String)>,
}

/// An image that a Containerfile uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedImage {
    /// The name of the image.
    pub image: ImageReference,
    /// What the image is used for.
    pub usage: Usage,
    /// The text of `--platform=`. Variables that the builder sets stay in it.
    pub platform: Option<String>,
    /// The line at which the instruction begins, counted from 1.
    pub line: usize,
}

/// What a Containerfile uses an image for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Usage {
    /// The last stage begins with it, directly or through other stages, so its content is in the
    /// result.
    Parent,
    /// It is the base of another stage, or a source of `COPY --from=` or `RUN --mount=…,from=`.
    Builder,
    /// Only a stage that the last stage does not need uses it. Builders skip such stages.
    Unused,
    /// Only `ONBUILD` uses it: when another image is built from the result.
    OnBuild,
}

impl UsedImage {
    /// Returns the kind of the dependency, or the stable code of the reason why there is none.
    ///
    /// # Errors
    /// `unused_stage`, `onbuild` or `pinned_by_digest`.
    pub fn edge(&self) -> Result<EdgeKind, &'static str> {
        match self.usage {
            Usage::Unused => Err("unused_stage"),
            Usage::OnBuild => Err("onbuild"),
            Usage::Parent | Usage::Builder if self.image.digest().is_some() => Err("pinned_by_digest"),
            Usage::Parent => Ok(EdgeKind::ParentImage),
            Usage::Builder => Ok(EdgeKind::BuilderStage),
        }
    }
}

/// A mistake in a Containerfile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Problem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, as a sentence.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Reads a Containerfile. Nothing is fetched, and no variable is taken from outside of the text.
///
/// # Errors
/// The first mistake that no builder would accept. A reference that cannot be resolved is not an
/// error; it is among the [`problems`](Recipe::problems).
pub fn parse(text: &str) -> Result<Recipe, Problem> {
    if let Some(at) = text.find('\0') {
        // Files that builders can read have no zero byte; UTF-16 text has.
        let line = text[..at].matches('\n').count() + 1;
        return Err(Problem { line, text: "it is not text: there is a zero byte".to_owned() });
    }
    let Prepared { text, escape, image } = lines::prepare(text)?;
    let instructions = instructions(&text)?;
    let mut reader = Reader { escape, ..Reader::default() };
    for (line, instruction) in &instructions {
        reader.read(*line, instruction);
    }
    let reached = reader.reached();
    let mut recipe = Recipe { problems: reader.problems, names: image, ..Recipe::default() };
    for (at, stage) in reader.stages.iter().enumerate() {
        for used in &stage.images {
            let usage = match used.usage {
                Usage::Parent | Usage::Builder if !reached.used.contains(&at) => Usage::Unused,
                Usage::Parent if !reached.content.contains(&at) => Usage::Builder,
                ref usage => usage.clone(),
            };
            recipe.images.push(UsedImage { usage, ..used.clone() });
        }
    }
    recipe.images.sort_by_key(|used| used.line);
    recipe.problems.sort();
    Ok(recipe)
}

/// Returns all instructions with their lines.
fn instructions(text: &str) -> Result<Vec<(usize, Instruction<'_>)>, Problem> {
    let problem = |error: parse_dockerfile::Error| Problem { line: error.line().max(1), text: format!("{error:#}") };
    // The parser removes one more of these, after which its offsets would be different from ours.
    let text = text.trim_start_matches('\u{feff}');
    let mut found = Vec::new();
    let (mut line, mut counted) = (1, 0);
    // `parse` cannot be used: it refuses two stages with the same name, while builders use the last
    // one.
    for instruction in parse_dockerfile::parse_iter(text).map_err(problem)? {
        let instruction = instruction.map_err(problem)?;
        if let Some(start) = start_of(&instruction) {
            line += text[counted..start].bytes().filter(|&b| b == b'\n').count();
            counted = start;
            found.push((line, instruction));
        }
    }
    Ok(found)
}

/// Returns where an instruction begins, if it is one that matters here.
fn start_of(instruction: &Instruction<'_>) -> Option<usize> {
    match instruction {
        Instruction::Arg(arg) => Some(arg.arg.span.start),
        Instruction::From(from) => Some(from.from.span.start),
        Instruction::Copy(copy) => Some(copy.copy.span.start),
        Instruction::Run(run) => Some(run.run.span.start),
        Instruction::Onbuild(onbuild) => Some(onbuild.onbuild.span.start),
        _ => None,
    }
}

/// The variables that a builder sets for each platform. They need no declaration outside of stages.
const PLATFORM_ARGS: [&str; 8] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
];
const SCRATCH: &str = "scratch";

#[derive(Debug, Default)]
struct Stage {
    name: Option<String>,
    args: BTreeMap<String, Value>,
    images: Vec<UsedImage>,
    /// The stages that this one begins with. More than one only if it depends on the platform.
    bases: Vec<usize>,
    /// The stages that this one copies from, by name. They are resolved at the end, because later
    /// stages count too.
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: String,
    line: usize,
    onbuild: bool,
}

#[derive(Debug, Default)]
struct Reader {
    escape: char,
    globals: BTreeMap<String, Value>,
    stages: Vec<Stage>,
    problems: Vec<Problem>,
}

#[derive(Debug, Default)]
struct Reached {
    content: BTreeSet<usize>,
    used: BTreeSet<usize>,
}

impl Reader {
    fn read(&mut self, line: usize, instruction: &Instruction<'_>) {
        match instruction {
            Instruction::Arg(arg) => self.arg(line, arg),
            Instruction::From(from) => {
                let name = from.as_.as_ref().map(|(_, name)| name.value.to_ascii_lowercase());
                let platform = flag(&from.options, "platform").map(|text| self.platform(text));
                self.stages.push(Stage { name, ..Stage::default() });
                self.base(line, &from.image.value, platform);
            }
            Instruction::Onbuild(onbuild) => self.sources(line, &onbuild.instruction, true),
            other => self.sources(line, other, false),
        }
    }

    fn problem(&mut self, line: usize, text: impl Into<String>) {
        self.problems.push(Problem { line, text: text.into() });
    }

    fn arg(&mut self, line: usize, arg: &ArgInstruction<'_>) {
        for word in words::split(&arg.arguments.value, self.escape) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, self.default_of(value)),
                None => (word, self.inherited(word)),
            };
            if name.is_empty() {
                self.problem(line, "ARG without a name");
                continue;
            }
            let args = self.stages.last_mut().map_or(&mut self.globals, |stage| &mut stage.args);
            args.insert(name.to_owned(), value);
        }
    }

    /// Returns the default of a variable. One that cannot be resolved matters only where it is
    /// used.
    fn default_of(&self, value: &str) -> Value {
        match words::expand(value, self.escape, &|name| self.value_of(name)) {
            Ok(value) if value.contains(ANY) => Value::Platform,
            Ok(value) => Value::Set(value),
            Err(_) => Value::NoDefault,
        }
    }

    fn inherited(&self, name: &str) -> Value {
        match self.globals.get(name) {
            Some(value) if !self.stages.is_empty() => value.clone(),
            _ if PLATFORM_ARGS.contains(&name) => Value::Platform,
            _ => Value::NoDefault,
        }
    }

    fn value_of(&self, name: &str) -> Value {
        let local = self.stages.last().and_then(|stage| stage.args.get(name));
        local.cloned().unwrap_or_else(|| self.global(name))
    }

    fn global(&self, name: &str) -> Value {
        let predefined = || if PLATFORM_ARGS.contains(&name) { Value::Platform } else { Value::Undeclared };
        self.globals.get(name).cloned().unwrap_or_else(predefined)
    }

    /// Returns the text of a platform. It is only shown, so a variable without a value stays as it
    /// is written.
    fn platform(&self, text: &str) -> String {
        match words::expand(text, self.escape, &|name| self.global(name)) {
            Ok(platform) if !platform.contains(ANY) => platform,
            _ => text.to_owned(),
        }
    }

    fn base(&mut self, line: usize, text: &str, platform: Option<String>) {
        let name = match words::expand(text, self.escape, &|name| self.global(name)) {
            Ok(name) => name,
            Err(why) => return self.problem(line, format!("FROM {text}: {why}")),
        };
        let current = self.stages.len() - 1;
        let wanted = name.to_ascii_lowercase();
        let bases: Vec<usize> = if name.contains(ANY) {
            (0..current)
                .filter(|&at| self.stages[at].name.as_ref().is_some_and(|name| matches(&wanted, name)))
                .collect()
        } else {
            (0..current).rev().find(|&at| self.stages[at].name.as_ref() == Some(&wanted)).into_iter().collect()
        };
        if !bases.is_empty() {
            self.stages[current].bases = bases;
        } else if name != SCRATCH {
            self.image(current, line, text, &name, platform, Usage::Parent);
        }
    }

    fn image(&mut self, stage: usize, line: usize, text: &str, name: &str, platform: Option<String>, usage: Usage) {
        if name.contains(ANY) {
            return self.problem(line, format!("{text} is another image for each platform"));
        }
        match name.parse() {
            Ok(image) => self.stages[stage].images.push(UsedImage { image, usage, platform, line }),
            Err(error) => self.problem(line, format!("{error}")),
        }
    }

    /// Reads the names in `COPY --from=` and `RUN --mount=…,from=`.
    fn sources(&mut self, line: usize, instruction: &Instruction<'_>, onbuild: bool) {
        let texts: Vec<String> = match instruction {
            Instruction::Copy(copy) => flag(&copy.options, "from").map(str::to_owned).into_iter().collect(),
            Instruction::Run(run) => run.options.iter().filter_map(mount_source).collect(),
            _ => Vec::new(),
        };
        for text in texts {
            match words::expand(&text, self.escape, &|name| self.value_of(name)) {
                Ok(name) => {
                    if let Some(stage) = self.stages.last_mut() {
                        stage.sources.push(Source { name, line, onbuild });
                    }
                }
                Err(why) => self.problem(line, format!("from={text}: {why}")),
            }
        }
    }

    /// Follows the last stage to everything that it needs, and adds the images that stages copy
    /// from.
    fn reached(&mut self) -> Reached {
        let mut needs: Vec<Vec<usize>> = self.stages.iter().map(|stage| stage.bases.clone()).collect();
        for (at, needed) in needs.iter_mut().enumerate() {
            for source in std::mem::take(&mut self.stages[at].sources) {
                needed.extend(self.source(at, &source));
            }
        }
        let last = self.stages.len().saturating_sub(1);
        let bases = |at: usize| self.stages.get(at).map_or(&[][..], |stage| &stage.bases);
        Reached { content: follow(last, bases), used: follow(last, |at| needs.get(at).map_or(&[][..], Vec::as_slice)) }
    }

    /// Returns the stage that a source means. If it means an image, the image is added to the stage
    /// instead.
    fn source(&mut self, at: usize, source: &Source) -> Vec<usize> {
        let usage = if source.onbuild { Usage::OnBuild } else { Usage::Builder };
        let wanted = source.name.to_ascii_lowercase();
        let mut found: Vec<usize> = if source.onbuild {
            // `ONBUILD` runs in another file, which does not have the stages of this one.
            Vec::new()
        } else if let Ok(number) = wanted.parse::<usize>() {
            if number >= self.stages.len() || number == at {
                self.problem(source.line, format!("from={}: there is no such stage to copy from", source.name));
                return Vec::new();
            }
            vec![number]
        } else {
            let named = |&stage: &usize| self.stages[stage].name.as_ref().is_some_and(|name| matches(&wanted, name));
            (0..self.stages.len()).filter(named).collect()
        };
        if !source.name.contains(ANY) && found.len() > 1 {
            // Of two stages with the same name, builders use the last one that comes before this
            // stage.
            let before = found.iter().rev().find(|&&stage| stage < at).or(found.last()).copied();
            found = before.into_iter().collect();
        }
        if found == [at] {
            self.problem(source.line, format!("from={}: a stage cannot copy from itself", source.name));
            return Vec::new();
        }
        found.retain(|&stage| stage != at);
        let stage_of_child = source.onbuild && wanted.parse::<usize>().is_ok();
        if found.is_empty() && wanted != SCRATCH && !stage_of_child {
            self.image(at, source.line, &source.name.replace(ANY, "*"), &source.name, None, usage);
        }
        found
    }
}

fn follow<'a>(start: usize, next: impl Fn(usize) -> &'a [usize]) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([start]);
    let mut queue = vec![start];
    while let Some(at) = queue.pop() {
        queue.extend(next(at).iter().filter(|&&next| found.insert(next)));
    }
    found
}

/// Returns whether the name of a stage fits a text in which values that depend on the platform are
/// open.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split(ANY);
    let Some(mut rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

fn flag<'a>(flags: &'a [Flag<'_>], name: &str) -> Option<&'a str> {
    let flag = flags.iter().find(|flag| flag.name.value == name)?;
    flag.value.as_ref().map(|value| &*value.value)
}

/// Returns the `from` of `--mount=type=bind,from=…`. Fields are separated by commas and may be
/// quoted.
fn mount_source(flag: &Flag<'_>) -> Option<String> {
    let value = flag.value.as_ref().filter(|_| flag.name.value == "mount")?;
    value.value.split(',').map(|field| field.trim_matches('"')).find_map(|field| {
        let (key, value) = field.split_once('=')?;
        key.trim().eq_ignore_ascii_case("from").then(|| value.trim().to_owned()).filter(|value| !value.is_empty())
    })
}
