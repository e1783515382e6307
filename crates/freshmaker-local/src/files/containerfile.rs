//! Reads which images a Containerfile is built from, as BuildKit reads it.
//!
//! * A file that builders refuse is refused here, with the line of the first mistake: an unknown
//!   instruction or flag, a flag that is given twice, a wrong name of a stage, a here-document
//!   without an end.
//! * The values of `ARG` are those of a build without `--build-arg`. A variable without a value is
//!   empty. If the reference is still the name of an image, the file can be built, and a
//!   [remark](Recipe::remarks) says that the variable was empty.
//! * A value that the builder sets for each platform (`TARGETARCH`, …) is not known: a name with it
//!   may mean several stages, but no image.
//! * `COPY --from=` and `RUN --mount=…,from=` mean a stage by its name or number, and it must come
//!   before. Variables in them are replaced, and a number in a mount means a stage, as with
//!   `buildah`; BuildKit refuses such variables, and takes such a number for the name of an image.
//! * If a stage begins `FROM` another stage of the file, the `ONBUILD` instructions of that other
//!   stage run in it. All other `ONBUILD` instructions run only in images that are built from the
//!   result, so mistakes in them are not mistakes of this file.
//! * Some mistakes are refused only when the stage is built: a stage that copies from a later one,
//!   an unknown type of a mount. They are no mistakes in a stage that the last stage does not need.

use super::instruction::{Instruction, Keyword};
use super::lines::{self, Lines};
use super::mount;
use super::words::{self, ANY, Expanded, Value};
use freshmaker::artifact::ImageReference;
use freshmaker::graph::EdgeKind;
use std::cell::Cell;
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
    /// What was taken for granted, by line: variables without a value are empty, as in builders,
    /// and a frontend that is not BuildKit's own reads the file as that does.
    pub remarks: Vec<Problem>,
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
    /// Only `ONBUILD` uses it, and no stage of the file begins with that stage: when another image
    /// is built from the result.
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
/// The first mistake for which builders refuse the file. A reference that cannot be resolved is not
/// an error; it is among the [`problems`](Recipe::problems).
pub fn parse(text: &str) -> Result<Recipe, Problem> {
    if let Some(at) = text.find('\0') {
        // Files that builders can read have no zero byte; UTF-16 text has.
        let line = text[..at].matches('\n').count() + 1;
        return Err(Problem { line, text: "it is not text: there is a zero byte".to_owned() });
    }
    let Lines { instructions, escape, image, syntax } = lines::read(text)?;
    let mut reader = Reader { escape, target: target(&instructions), ..Reader::default() };
    if let Some((line, frontend)) = syntax.filter(|(_, frontend)| !is_usual(frontend)) {
        let text = format!("# syntax={frontend}: another frontend reads this file, perhaps in another way");
        reader.remarks.push(Problem { line, text });
    }
    for instruction in &instructions {
        reader.read(instruction)?;
    }
    if reader.stages.is_empty() {
        return Err(Problem { line: 1, text: "expected at least one FROM instruction".to_owned() });
    }
    let reached = reader.reached();
    let late = std::mem::take(&mut reader.late).into_iter().filter(|late| reached.used.contains(&late.stage));
    for Late { problem, refused, .. } in late {
        if refused {
            return Err(problem);
        }
        reader.problems.push(problem);
    }
    let mut recipe = Recipe { problems: reader.problems, remarks: reader.remarks, names: image, ..Recipe::default() };
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
    recipe.problems.dedup();
    recipe.remarks.sort();
    recipe.remarks.dedup();
    Ok(recipe)
}

/// Returns the names of the arguments of a build on which the images in a file may depend: those
/// that it declares before its first stage; if it copies from a name with variables, those of its
/// stages; and if any name has variables, those that the builder sets. None if builders refuse the
/// file.
pub(super) fn deciding_args(text: &str) -> BTreeSet<String> {
    let Ok(Lines { instructions, escape, .. }) = lines::read(text) else { return BTreeSet::new() };
    let has_variables = |found: &Instruction| {
        let found = found.later.as_deref().unwrap_or(found);
        let mounts = found.values("mount").filter_map(|value| mount::source(value).ok().flatten());
        mounts.chain(found.flag("from").map(str::to_owned)).any(|name| name.contains('$'))
    };
    let copies = instructions.iter().any(has_variables);
    let begins = instructions.iter().any(|found| found.keyword == Keyword::From && found.arguments.contains('$'));
    let before = |found: &&Instruction| copies || found.keyword != Keyword::From;
    let words = instructions.iter().take_while(before).filter(|found| found.keyword == Keyword::Arg);
    let words = words.flat_map(|found| words::split(&found.arguments, escape));
    let declared = words.map(|word| word.split('=').next().unwrap_or_default().to_owned());
    let set = [&PLATFORM_ARGS[..], &PLATFORM_ARGS_OR_EMPTY, &PREDEFINED_ARGS];
    let set = set.into_iter().flatten().filter(|_| copies || begins).map(|name| (*name).to_owned());
    declared.chain(set).collect()
}

/// Returns the name of the stage that is built if no other one is asked for.
fn target(instructions: &[Instruction]) -> String {
    let last = instructions.iter().rfind(|found| found.keyword == Keyword::From);
    last.and_then(Instruction::stage_name).unwrap_or_else(|| UNNAMED.to_owned())
}

/// Returns the name that a comment at the beginning of a file gives, even if builders refuse the
/// file for what comes later.
pub(super) fn name_in(text: &str) -> Option<String> {
    lines::read(text).ok()?.image.map(|(_, name)| name)
}

/// Returns whether the frontend of a file is that of BuildKit, from Docker Hub or a mirror of it.
fn is_usual(frontend: &str) -> bool {
    let image = frontend.parse::<ImageReference>();
    image.is_ok_and(|image| {
        ["docker/dockerfile", "docker/dockerfile-upstream"].iter().any(|usual| {
            image.repository().strip_suffix(usual).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        })
    })
}

/// The variables that a builder sets for each platform. They need no declaration outside of stages.
const PLATFORM_ARGS: [&str; 6] = ["BUILDPLATFORM", "BUILDOS", "BUILDARCH", "TARGETPLATFORM", "TARGETOS", "TARGETARCH"];
/// Those of them that are empty on usual platforms.
const PLATFORM_ARGS_OR_EMPTY: [&str; 4] = ["BUILDVARIANT", "BUILDOSVERSION", "TARGETVARIANT", "TARGETOSVERSION"];
/// The name of the stage that is built.
const TARGET_STAGE: &str = "TARGETSTAGE";
/// Its value if the last stage, which is built, has no name.
const UNNAMED: &str = "default";
/// The variables that a build may set without a declaration. They are empty if it does not.
const PREDEFINED_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];
const SCRATCH: &str = "scratch";

#[derive(Debug, Default)]
struct Stage {
    name: Option<String>,
    args: BTreeMap<String, Value>,
    images: Vec<UsedImage>,
    /// The stages that this one begins with. More than one only if it depends on the platform.
    bases: Vec<usize>,
    /// The stages that this one copies from, by name. They are resolved at the end, because a later
    /// stage of that name is a mistake, and not an image.
    sources: Vec<Source>,
    /// What is illegal after `ONBUILD` here.
    faults: Vec<Problem>,
}

/// A mistake that builders find only if they build the stage.
#[derive(Debug)]
struct Late {
    stage: usize,
    problem: Problem,
    /// Whether builders refuse the file for it. Otherwise an edge is missing.
    refused: bool,
}

#[derive(Clone, Debug)]
struct Source {
    name: Expanded,
    written: String,
    line: usize,
    onbuild: bool,
}

#[derive(Debug, Default)]
struct Reader {
    escape: char,
    /// The name of the stage that is built.
    target: String,
    globals: BTreeMap<String, Value>,
    stages: Vec<Stage>,
    problems: Vec<Problem>,
    late: Vec<Late>,
    remarks: Vec<Problem>,
}

#[derive(Debug, Default)]
struct Reached {
    content: BTreeSet<usize>,
    used: BTreeSet<usize>,
}

impl Reader {
    fn read(&mut self, instruction: &Instruction) -> Result<(), Problem> {
        let line = instruction.line;
        match instruction.keyword {
            Keyword::Arg => self.arg(instruction),
            Keyword::From => {
                let platform = instruction.flag("platform").map(|text| self.platform(line, text)).transpose()?;
                self.stages.push(Stage { name: instruction.stage_name(), ..Stage::default() });
                self.base(line, instruction.words().first().copied().unwrap_or_default(), platform);
            }
            _ if self.stages.is_empty() => return Err(Problem { line, text: "expected FROM".to_owned() }),
            Keyword::Onbuild => {
                if let Some(fault) = &instruction.fault {
                    self.fault(line, format!("ONBUILD: {fault}"), true);
                }
                if let Some(later) = &instruction.later {
                    self.sources(later, true);
                }
            }
            _ => self.sources(instruction, false),
        }
        Ok(())
    }

    fn problem(&mut self, line: usize, text: impl Into<String>) {
        self.problems.push(Problem { line, text: text.into() });
    }

    /// Keeps a mistake for which builders refuse the file if they run the instruction.
    fn fault(&mut self, line: usize, text: String, onbuild: bool) {
        let stage = self.stages.len().saturating_sub(1);
        let problem = Problem { line, text };
        match self.stages.last_mut() {
            Some(stage) if onbuild => stage.faults.push(problem),
            _ => self.late.push(Late { stage, problem, refused: true }),
        }
    }

    fn arg(&mut self, instruction: &Instruction) {
        for word in words::split(&instruction.arguments, self.escape) {
            match word.split_once('=') {
                Some((name, value)) => {
                    let value = self.default_of(value);
                    self.args().insert(name.to_owned(), value);
                }
                // Without a value, an earlier one stays.
                None if self.stages.is_empty() => {
                    let value = match self.predefined(&word) {
                        Value::Undeclared => Value::NoDefault,
                        value => value,
                    };
                    self.globals.entry(word).or_insert(value);
                }
                None => {
                    let known = self.stages.last().and_then(|stage| stage.args.get(&word).cloned());
                    let value = match (self.global(&word), known) {
                        (Value::Undeclared | Value::NoDefault, Some(known)) => known,
                        (Value::Undeclared, None) => Value::NoDefault,
                        (value, _) => value,
                    };
                    self.args().insert(word, value);
                }
            }
        }
    }

    fn args(&mut self) -> &mut BTreeMap<String, Value> {
        self.stages.last_mut().map_or(&mut self.globals, |stage| &mut stage.args)
    }

    /// Returns the default of a variable. One that cannot be resolved matters only where it is
    /// used.
    fn default_of(&self, value: &str) -> Value {
        words::expand(value, self.escape, &|name| self.value_of(name)).map_or_else(Value::Faulty, Value::Set)
    }

    /// Returns the value of a variable at this place. A stage has the variables that it declares,
    /// and those of the stage that it begins with.
    fn value_of(&self, name: &str) -> Value {
        let Some(stage) = self.stages.last() else { return self.global(name) };
        stage.args.get(name).cloned().unwrap_or_else(|| match self.global(name) {
            Value::Undeclared => Value::Undeclared,
            _ => Value::NotInStage,
        })
    }

    fn global(&self, name: &str) -> Value {
        self.globals.get(name).cloned().unwrap_or_else(|| self.predefined(name))
    }

    fn predefined(&self, name: &str) -> Value {
        if PLATFORM_ARGS.contains(&name) {
            Value::Platform
        } else if PLATFORM_ARGS_OR_EMPTY.contains(&name) {
            Value::PlatformOrEmpty
        } else if name == TARGET_STAGE {
            Value::Set(self.target.as_str().into())
        } else if PREDEFINED_ARGS.contains(&name) {
            Value::NoDefault
        } else {
            Value::Undeclared
        }
    }

    /// Returns the text of a platform. It is only shown, so a variable without a value stays as it
    /// is written.
    ///
    /// # Errors
    /// No value of a variable makes it a platform.
    fn platform(&mut self, line: usize, text: &str) -> Result<String, Problem> {
        let is_undeclared = Cell::new(false);
        let value_of = |name: &str| {
            let value = self.global(name);
            is_undeclared.set(is_undeclared.get() || value == Value::Undeclared);
            value
        };
        let Ok(platform) = words::expand(text, self.escape, &value_of) else { return Ok(text.to_owned()) };
        if is_platform(&platform.text) {
            let is_known = platform.empty.is_empty() && !platform.text.contains(ANY);
            return Ok(if is_known { platform.text } else { text.to_owned() });
        }
        let written = format!("--platform={text}");
        if platform.empty.is_empty() || is_undeclared.get() {
            let why: String = platform.empty.iter().map(|why| format!(": {why}")).collect();
            return Err(Problem { line, text: format!("{written} is no platform{why}") });
        }
        // The command line of the builder may give the value, and the image is the same.
        self.remark(line, &written, &platform);
        Ok(text.to_owned())
    }

    fn base(&mut self, line: usize, text: &str, platform: Option<String>) {
        let name = match words::expand(text, self.escape, &|name| self.global(name)) {
            Ok(name) => name,
            Err(why) => return self.problem(line, format!("FROM {text}: {why}")),
        };
        let current = self.stages.len() - 1;
        // The names of stages are in lower case, and builders compare this one as it is.
        let wanted = &name.text;
        let named = |at: &usize| self.stages[*at].name.as_ref().is_some_and(|name| matches(wanted, name));
        let bases: Vec<usize> = if wanted.contains(ANY) {
            (0..current).filter(named).collect()
        } else {
            // Of two stages with the same name, the later one counts.
            (0..current).rev().find(named).into_iter().collect()
        };
        let written = format!("FROM {text}");
        if !bases.is_empty() {
            self.remark(line, &written, &name);
            if let [base] = bases.as_slice() {
                self.stages[current].args = self.stages[*base].args.clone();
            }
            // What a stage puts off runs where another one begins with it.
            let later = bases.iter().flat_map(|base| &self.stages[*base].sources).filter(|source| source.onbuild);
            self.stages[current].sources = later.map(|source| Source { onbuild: false, ..source.clone() }).collect();
            let faults = bases.iter().flat_map(|base| &self.stages[*base].faults).cloned();
            self.late.extend(faults.map(|problem| Late { stage: current, problem, refused: true }));
            self.stages[current].bases = bases;
        } else if name.text == SCRATCH {
            self.remark(line, &written, &name);
        } else {
            self.image(current, line, &written, &name, platform, Usage::Parent);
        }
    }

    /// Remarks on the variables that were taken as empty.
    fn remark(&mut self, line: usize, written: &str, name: &Expanded) {
        for why in &name.empty {
            self.remarks.push(Problem { line, text: format!("{written}: {why}, so it is empty") });
        }
    }

    fn image(
        &mut self,
        stage: usize,
        line: usize,
        written: &str,
        name: &Expanded,
        platform: Option<String>,
        usage: Usage,
    ) {
        if name.text.contains(ANY) {
            let written = written.strip_prefix("FROM ").unwrap_or(written);
            return self.problem(line, format!("{written} is another image for each platform"));
        }
        match name.text.parse() {
            Ok(image) => {
                self.remark(line, written, name);
                self.stages[stage].images.push(UsedImage { image, usage, platform, line });
            }
            Err(_) if !name.empty.is_empty() => {
                let why: Vec<&str> = name.empty.iter().map(String::as_str).collect();
                self.problem(line, format!("{written}: {}", why.join(", ")));
            }
            Err(error) => self.problem(line, format!("{error}")),
        }
    }

    /// Reads the names in `COPY --from=` and `RUN --mount=…,from=`.
    fn sources(&mut self, instruction: &Instruction, onbuild: bool) {
        let line = instruction.line;
        let texts: Vec<String> = match instruction.keyword {
            Keyword::Copy => instruction.flag("from").map(str::to_owned).into_iter().collect(),
            Keyword::Run => {
                let mounts = instruction.values("mount").map(mount::source);
                match mounts.collect::<Result<Vec<_>, _>>() {
                    Ok(mounts) => mounts.into_iter().flatten().collect(),
                    Err(text) => return self.fault(line, text, onbuild),
                }
            }
            _ => Vec::new(),
        };
        for text in texts {
            let written = format!("from={text}");
            match words::expand(&text, self.escape, &|name| self.value_of(name)) {
                Ok(name) => {
                    if let Some(stage) = self.stages.last_mut() {
                        stage.sources.push(Source { name, written, line, onbuild });
                    }
                }
                Err(why) if onbuild => self.fault(line, format!("{written}: {why}"), true),
                Err(why) => self.problem(line, format!("{written}: {why}")),
            }
        }
    }

    /// Follows the last stage to everything that it needs, and adds the images that stages copy
    /// from.
    fn reached(&mut self) -> Reached {
        let mut needs: Vec<Vec<usize>> = self.stages.iter().map(|stage| stage.bases.clone()).collect();
        let continued: BTreeSet<usize> = needs.iter().flatten().copied().collect();
        for (at, needed) in needs.iter_mut().enumerate() {
            let sources = std::mem::take(&mut self.stages[at].sources);
            for source in sources.iter().filter(|source| !(source.onbuild && continued.contains(&at))) {
                needed.extend(self.source(at, source));
            }
        }
        let last = self.stages.len().saturating_sub(1);
        let bases = |at: usize| self.stages.get(at).map_or(&[][..], |stage| &stage.bases);
        Reached { content: follow(last, bases), used: follow(last, |at| needs.get(at).map_or(&[][..], Vec::as_slice)) }
    }

    /// Returns the stages that a source means. If it means an image, the image is added to the
    /// stage instead.
    fn source(&mut self, at: usize, source: &Source) -> Vec<usize> {
        let wanted = source.name.text.to_lowercase();
        let number = wanted.parse::<i64>().ok();
        if source.onbuild {
            // No stage begins with this one, so it runs in another file, which does not have the
            // stages of this one. What is no name of an image may be a stage of that file.
            let is_image = source.name.text.parse::<ImageReference>().is_ok();
            if number.is_none() && wanted != SCRATCH && is_image {
                self.image(at, source.line, &source.written, &source.name, None, Usage::OnBuild);
            }
            return Vec::new();
        }
        let mut found = match number {
            Some(number) => match usize::try_from(number).ok().filter(|number| *number < self.stages.len()) {
                Some(number) => vec![number],
                None => {
                    self.problem(source.line, format!("{}: there is no such stage to copy from", source.written));
                    return Vec::new();
                }
            },
            None => {
                let named = |at: &usize| self.stages[*at].name.as_ref().is_some_and(|name| matches(&wanted, name));
                let mut all = (0..self.stages.len()).filter(named);
                // Of stages with the same name, the last one of the file counts.
                if wanted.contains(ANY) { all.collect() } else { all.next_back().into_iter().collect() }
            }
        };
        if found.is_empty() {
            if wanted != SCRATCH {
                self.image(at, source.line, &source.written, &source.name, None, Usage::Builder);
            }
            return found;
        }
        let later = found.iter().copied().max();
        found.retain(|stage| *stage < at);
        match later {
            _ if !found.is_empty() => self.remark(source.line, &source.written, &source.name),
            Some(stage) if stage == at => {
                self.problem(source.line, format!("{}: a stage cannot copy from itself", source.written));
            }
            _ => {
                let text = format!("{}: this stage must be defined before the stage that uses it", source.written);
                let problem = Problem { line: source.line, text };
                self.late.push(Late { stage: at, problem, refused: false });
            }
        }
        found
    }
}

/// Returns whether a text may be a platform such as `linux/arm64/v8`. What depends on the platform
/// may have any value.
fn is_platform(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ANY);
    let parts: Vec<&str> = text.split('/').collect();
    // The version of the operating system may be in brackets behind it.
    let first = parts[0].split_once('(').map_or(parts[0], |(system, _)| system);
    let rest = &parts[1..];
    rest.len() <= 2 && [&[first], rest].concat().iter().all(|part| !part.is_empty() && part.chars().all(plain))
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
