//! The files catalog on real directories, and Containerfiles against what is expected of them.
// Helpers of tests are not tests to the lint.
#![allow(clippy::unwrap_used)]

use freshmaker::backend::Catalog;
use freshmaker::{ArtifactGraph, ArtifactId, EdgeKind, Policy};
use freshmaker_local::files::containerfile::{self, Usage};
use freshmaker_local::files::tree::{self, Naming, Tree};
use freshmaker_local::files::{FilesCatalog, FilesError};
use proptest::prelude::{ProptestConfig, Strategy, prop, proptest};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A directory with these files.
fn files(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn scan(root: &TempDir) -> Tree {
    tree::scan(root.path(), &Naming::default()).unwrap()
}

/// The graph as lines of `child <- parent kind` and `child !code parent`.
fn drawn(graph: &ArtifactGraph) -> Vec<String> {
    let short = |id: &ArtifactId| id.as_str().replace("docker.io/library/", "").replace("docker.io/", "");
    let mut lines: Vec<String> = graph
        .edges()
        .map(|(child, parent, kind)| format!("{} <- {} {kind:?}", short(child), short(parent)))
        .chain(
            graph.all_notes().map(|(child, note)| format!("{} !{} {}", short(child), note.code, short(&note.parent))),
        )
        .collect();
    lines.sort();
    lines
}

fn told(root: &TempDir, problems: &[freshmaker_local::files::Problem]) -> Vec<String> {
    let prefix = format!("{}/", root.path().display());
    problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

fn told_of(text: &str) -> String {
    let recipe = match containerfile::parse(text) {
        Ok(recipe) => recipe,
        Err(problem) => return format!("broken {} {}\n", problem.line, problem.text),
    };
    let mut out = String::new();
    if let Some((line, name)) = &recipe.names {
        writeln!(out, "names {name} line {line}").unwrap();
    }
    for used in &recipe.images {
        let word = match (used.edge(), &used.usage) {
            (Err("pinned_by_digest"), _) => "pinned",
            (_, Usage::Parent) => "parent",
            (_, Usage::Builder) => "builder",
            (_, Usage::Unused) => "unused",
            (_, Usage::OnBuild) => "onbuild",
            (_, other) => panic!("{other:?}"),
        };
        write!(out, "{word} {} line {}", used.image, used.line).unwrap();
        if let Some(platform) = &used.platform {
            write!(out, " platform {platform}").unwrap();
        }
        out.push('\n');
    }
    for (word, all) in [("problem", &recipe.problems), ("remark", &recipe.remarks)] {
        for problem in all {
            writeln!(out, "{word} {} {}", problem.line, problem.text).unwrap();
        }
    }
    out
}

#[test]
fn containerfiles_say_what_they_are_built_from() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/containerfiles");
    let mut wrong = String::new();
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "Dockerfile") {
            count += 1;
            let found = told_of(&fs::read_to_string(&path).unwrap());
            let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
            if found != expected {
                write!(wrong, "{}\n--- expected\n{expected}--- found\n{found}\n", path.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 60, "{count}");
}

#[test]
fn a_company_tree_is_linked_by_short_names() {
    let root = files(&[
        ("base/Dockerfile", "FROM debian:12\n"),
        ("base/Dockerfile.alpine", "FROM alpine:3\n"),
        ("team/tools/Containerfile", "FROM base\n"),
        ("app/web.Dockerfile", "FROM team/tools AS build\nFROM base:alpine\nCOPY --from=build /a /a\n"),
        ("app/other/Dockerfile", "FROM base:1.2\nCOPY --from=localhost/app:web /a /a\n"),
        ("python/3.12/Dockerfile", "FROM localhost/base\n"),
        ("python/3.12/slim/Dockerfile", "FROM base\n"),
        (
            "site/Dockerfile",
            "FROM python:3.12 AS b\nFROM python:3.12-slim\nCOPY --from=b / /\nCOPY --from=python:3.11 / /\n",
        ),
    ]);
    let tree = scan(&root);
    assert_eq!(told(&root, &tree.problems), [""; 0]);
    assert_eq!(
        drawn(&tree.graph),
        [
            "localhost/app/other:latest <- base:1.2 ParentImage",
            "localhost/app/other:latest <- localhost/app:web BuilderStage",
            "localhost/app:web <- localhost/base:alpine ParentImage",
            "localhost/app:web <- localhost/team/tools:latest BuilderStage",
            "localhost/base:alpine <- alpine:3 ParentImage",
            "localhost/base:latest <- debian:12 ParentImage",
            "localhost/python/3.12/slim:latest <- localhost/base:latest ParentImage",
            "localhost/python/3.12:latest <- localhost/base:latest ParentImage",
            "localhost/site:latest <- localhost/python/3.12/slim:latest ParentImage",
            "localhost/site:latest <- localhost/python/3.12:latest BuilderStage",
            "localhost/site:latest <- python:3.11 BuilderStage",
            "localhost/team/tools:latest <- localhost/base:latest ParentImage",
        ]
    );
    let plan = tree.graph.plan(&["docker.io/library/debian:12".into()], &Policy::allow_all()).unwrap();
    assert_eq!(plan.waves().count(), 4);
}

#[test]
fn an_artifact_has_source_revision_and_file() {
    let root = files(&[
        ("a/B/Dockerfile.x", "FROM debian:12\n"),
        ("Containerfile", "# freshmaker: image=me/top:1\nFROM scratch\n"),
    ]);
    let tree = scan(&root);
    let artifact = tree.graph.get(&"localhost/a/b:x".into()).unwrap();
    let source = artifact.source.as_ref().unwrap();
    assert_eq!(Path::new(&source.location), root.path().join("a/B"));
    assert!(source.revision.as_ref().unwrap().starts_with("sha256:"));
    assert_eq!(artifact.parameters.get("file"), Some(&"Dockerfile.x".into()));
    assert!(!tree.graph.get(&"docker.io/library/debian:12".into()).unwrap().buildable());
    let top = tree.graph.get(&"docker.io/me/top:1".into()).unwrap();
    assert_eq!(Path::new(&top.source.as_ref().unwrap().location), root.path());
    assert_eq!(tree.files["Containerfile"], "docker.io/me/top:1".into());
}

#[test]
fn a_wrapped_public_image_stays_public() {
    let root = files(&[
        ("python/Dockerfile", "FROM python\n"),
        ("app/Dockerfile", "FROM python\nCOPY --from=localhost/python / /\n"),
    ]);
    let tree = scan(&root);
    assert_eq!(
        drawn(&tree.graph),
        [
            "localhost/app:latest <- localhost/python:latest BuilderStage",
            "localhost/app:latest <- python:latest ParentImage",
            "localhost/python:latest <- python:latest ParentImage",
        ]
    );
    assert!(tree.problems.is_empty());
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_kept() {
    let root = files(&[
        ("a/b/Dockerfile", "FROM debian:12\n"),
        ("x/a/Dockerfile.b", "FROM debian:12\n"),
        ("x/a-b/Dockerfile", "FROM debian:12\n"),
        ("bad/Dockerfile", "FROM debian:12\nINSTALL x\n"),
        ("big/Dockerfile", &format!("FROM debian\n#{}", "x".repeat(1 << 20))),
        ("named/Dockerfile", "\n# freshmaker: image=Wrong\nFROM debian:12\n"),
        ("__/Dockerfile", "FROM debian:12\n"),
        ("no name/Dockerfile", "FROM debian:12\n"),
        ("self/Dockerfile", "FROM localhost/self\n"),
        ("two/Containerfile", "FROM debian:12\n"),
        ("two/Dockerfile", "FROM debian:11\n"),
        ("var/Dockerfile", "ARG B\nFROM $B\n"),
        ("user/Dockerfile", "FROM x:a-b\n"),
    ]);
    fs::create_dir_all(root.path().join("binary")).unwrap();
    fs::write(root.path().join("binary/Dockerfile"), b"FROM \xff\n").unwrap();
    let tree = scan(&root);
    assert_eq!(
        told(&root, &tree.problems),
        [
            "binary/Dockerfile:1: \"\u{fffd}\" is not an image name: the repository must be made of a-z and 0-9, separated by /, -, \
             _, __ or .",
            "self/Dockerfile:1: localhost/self:latest is built from itself",
            "var/Dockerfile:2: FROM $B: ARG B has no default",
            "x/a/Dockerfile.b: x:a-b could also be x/a-b/Dockerfile, so it means neither",
            "__/Dockerfile: its path makes no image name: \"localhost/:latest\" is not an image name: the repository must be \
             made of a-z and 0-9, separated by /, -, _, __ or .; give it one with a comment at its beginning: \
             # freshmaker: image=…",
            "bad/Dockerfile:2: unknown instruction 'INSTALL'",
            "big/Dockerfile: larger than 1048576 bytes",
            "named/Dockerfile:2: freshmaker: image: \"Wrong\" is not an image name: the repository must be in lower case",
            "two/Dockerfile: localhost/two:latest is already built by two/Containerfile; this file is left out",
        ]
    );
    assert_eq!(
        drawn(&tree.graph),
        [
            "localhost/a/b:latest <- debian:12 ParentImage",
            "localhost/no-name:latest <- debian:12 ParentImage",
            "localhost/two:latest <- debian:12 ParentImage",
            "localhost/user:latest <- x:a-b ParentImage",
            "localhost/x/a-b:latest <- debian:12 ParentImage",
            "localhost/x/a:b <- debian:12 ParentImage",
        ]
    );
}

#[test]
fn only_containerfiles_of_the_user_are_read() {
    let broken = "NO\n";
    let root = files(&[
        ("a/Dockerfile", "FROM debian:12\n"),
        ("vendor/Dockerfile", "FROM debian:12\n"),
        ("target/Dockerfile", "FROM debian:12\n"),
        (".devcontainer/Dockerfile", "FROM debian:12\n"),
        ("b/Dockerfile.go", "ARG V=1\nFROM golang:$V\n"),
        ("b/MyDockerfile", "FROM debian:12\n"),
        (".git/Dockerfile", broken),
        ("a/.svn/Dockerfile", broken),
        (".freshmaker/Dockerfile", broken),
        ("a/Dockerfile.dockerignore", broken),
        ("node_modules/x/y/Dockerfile", broken),
        ("built/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# comment"),
        ("built/x/Dockerfile", broken),
        ("a/CACHEDIR.TAG", "no signature"),
        ("a/Dockerfile~", broken),
        ("a/.Dockerfile", broken),
        ("a/Dockerfile.in", broken),
        ("a/Dockerfile.md", broken),
        ("a/dockerfile.go", "package dockerfile\n// FROM x\n"),
        ("a/dockerfile_test.go", "package dockerfile\nconst x = `\nFROM x\n`\n"),
        ("a/Dockerfile.py", "from x import y\n"),
        ("a/Dockerfiles", "a list\n"),
    ]);
    let tree = scan(&root);
    assert_eq!(told(&root, &tree.problems), [""; 0]);
    assert_eq!(
        tree.files.keys().collect::<Vec<_>>(),
        [
            ".devcontainer/Dockerfile",
            "a/Dockerfile",
            "b/Dockerfile.go",
            "b/MyDockerfile",
            "target/Dockerfile",
            "vendor/Dockerfile"
        ]
    );
    assert_eq!(
        tree.passed_over.to_string(),
        "10 files that look like Containerfiles: 1 template ({{ … }} or the like), 1 backup or patch, 1 text or data file, \
         4 files of other languages, 1 hidden file, 1 file in node_modules, 1 file in a cache directory"
    );
    assert!(tree::scan(&root.path().join("missing"), &Naming::default()).is_err());
}

/// Each file of a tree with the short names of its parents.
fn parents(tree: &Tree) -> Vec<String> {
    let of = |(file, id): (&String, &ArtifactId)| {
        let parents =
            tree.graph.parents(id).into_iter().map(|(parent, _)| parent.as_str().replace("docker.io/library/", ""));
        format!("{file}: {} <- {}", id.as_str().replace("docker.io/", ""), parents.collect::<Vec<_>>().join(" "))
    };
    tree.files.iter().map(of).collect()
}

#[test]
fn a_file_may_be_called_as_builders_allow() {
    let debian = "FROM debian:12\n";
    let root = files(&[
        ("shop/Dockerfile", debian),
        ("shop/Dockerfile-api", debian),
        ("shop/Dockerfile2", debian),
        ("shop/Dockerfile_worker", debian),
        ("shop/Dockerfile 3", debian),
        ("shop/Dockerfile(copy)", debian),
        ("src/go/.devcontainer/Dockerfile", "FROM golang:1.25\n"),
        ("src/node/.devcontainer/Dockerfile", "FROM node:24\n"),
    ]);
    assert_eq!(
        parents(&scan(&root)),
        [
            "shop/Dockerfile: localhost/shop:latest <- debian:12",
            "shop/Dockerfile 3: localhost/shop:3 <- debian:12",
            "shop/Dockerfile(copy): localhost/shop:copy <- debian:12",
            "shop/Dockerfile-api: localhost/shop:api <- debian:12",
            "shop/Dockerfile2: localhost/shop:2 <- debian:12",
            "shop/Dockerfile_worker: localhost/shop:worker <- debian:12",
            "src/go/.devcontainer/Dockerfile: localhost/src/go/devcontainer:latest <- golang:1.25",
            "src/node/.devcontainer/Dockerfile: localhost/src/node/devcontainer:latest <- node:24",
        ]
    );
}

#[test]
fn what_a_manifest_names_is_read_whatever_its_name() {
    let manifest = "[tree.images]\n'shop/api.recipe' = 'shop/api:1'\n'./x/Dockerfile.in' = 'x'\n'.git/D' = 'd'\n\
                    'node_modules/Dockerfile' = 'n'\n'../out' = 'o'\n";
    let root = files(&[
        ("freshmaker.toml", manifest),
        ("shop/api.recipe", "FROM debian:12\n"),
        ("x/Dockerfile.in", "FROM shop/api:1\n"),
        (".git/D", "FROM x\n"),
        ("node_modules/Dockerfile", "FROM {{ x }}\n"),
    ]);
    let catalog = FilesCatalog::from_manifest(root.path().join("freshmaker.toml")).unwrap();
    assert_eq!(
        drawn(catalog.graph()),
        [
            "d:latest <- x:latest ParentImage",
            "shop/api:1 <- debian:12 ParentImage",
            "x:latest <- shop/api:1 ParentImage"
        ]
    );
    assert!(catalog.passed_over().is_empty(), "{}", catalog.passed_over());
    assert_eq!(
        told(&root, catalog.problems()),
        [
            "node_modules/Dockerfile:1: FROM takes an image, or an image, AS and the name of a stage",
            "../out: an image is given to it, but it is not in the tree",
        ]
    );
}

#[test]
fn templates_are_counted_and_not_reported() {
    let root = files(&[
        ("app/Dockerfile", "FROM debian:12\nRUN echo '{{ x }}'\n"),
        ("tpl/Dockerfile.envs", "{{ ARGS[\"a\"] }}\nENV A=1\n"),
        ("tpl/Dockerfile.linux", "{{ if x }}FROM debian:12{{ end }}\nRUN a\n"),
        ("tpl/Dockerfile.jinja", "FROM debian:12\n"),
        ("tpl/Dockerfile.late", "FROM debian:12\n{% if x %}\nRUN a\n"),
        ("tpl/Dockerfile.name", "FROM debian:{{ version }}\n"),
        ("tpl/Dockerfile.part", "RUN a \\\n  && {{ b }}\n"),
        ("other/Dockerfile.a", "FROM <%= base %>\n"),
        ("other/Dockerfile.b", "FROM @@BASE@@\n"),
        ("other/Dockerfile.c", "FROM debian:%%VERSION%%\n"),
        ("other/Dockerfile.d", "FROM [% base %]\n"),
        ("other/Dockerfile.e", "<% if slim -%>\nFROM debian:12\n<% end -%>\n"),
        ("wrong/Dockerfile", "FROM debian:12\nRUN echo '{{ x }}'; date +[%H] ${A%%@@*}\nINSTALL x\n"),
    ]);
    let tree = scan(&root);
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["app/Dockerfile"]);
    assert_eq!(
        tree.passed_over.to_string(),
        "11 files that look like Containerfiles: 11 templates ({{ … }} or the like)"
    );
    assert_eq!(told(&root, &tree.problems), ["wrong/Dockerfile:3: unknown instruction 'INSTALL'"]);
}

#[test]
fn variables_without_a_value_are_remarked_on() {
    let root = files(&[
        ("a/Dockerfile", "ARG FLAVOUR\nFROM alpine:3.20${FLAVOUR}\n"),
        ("b/Dockerfile", "ARG MIRROR\nFROM ${MIRROR}alpine:3.20\n"),
    ]);
    let tree = scan(&root);
    assert_eq!(
        drawn(&tree.graph),
        ["localhost/a:latest <- alpine:3.20 ParentImage", "localhost/b:latest <- alpine:3.20 ParentImage"]
    );
    assert!(tree.problems.is_empty());
    assert_eq!(
        told(&root, &tree.remarks),
        [
            "a/Dockerfile:2: FROM alpine:3.20${FLAVOUR}: ARG FLAVOUR has no default, so it is empty",
            "b/Dockerfile:2: FROM ${MIRROR}alpine:3.20: ARG MIRROR has no default, so it is empty",
        ]
    );
}

#[test]
fn a_digest_alone_says_nothing_of_a_tag() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let root = files(&[
        ("base/Dockerfile", &format!("FROM alpine@{digest}\n")),
        ("app/Dockerfile", &format!("FROM localhost/base@{digest}\n")),
        ("web/Dockerfile", &format!("FROM localhost/base:latest@{digest}\n")),
    ]);
    let tree = scan(&root);
    assert_eq!(
        drawn(&tree.graph),
        [
            format!("localhost/app:latest !pinned_by_digest localhost/base@{digest}"),
            format!("localhost/base:latest !pinned_by_digest alpine@{digest}"),
            "localhost/web:latest !pinned_by_digest localhost/base:latest".to_owned(),
        ]
    );
    let texts: Vec<_> = tree.graph.all_notes().map(|(_, note)| note.text.as_str()).collect();
    assert!(texts.contains(&"base/Dockerfile:1 pins alpine by digest (no tag given)"), "{texts:?}");
    assert!(tree.graph.get(&"docker.io/library/alpine:latest".into()).is_none());
}

#[test]
fn rules_name_files_by_groups_of_their_paths() {
    let manifest = "[tree]\nimage = 'acme/{name}:{tag}'\n[[tree.rules]]\nfile = '([A-Z][a-z]+)([A-Z].*)/Dockerfile'\n\
                    image = 'acme/{1}-{2}'\n[[tree.rules]]\nfile = 'v(?<version>.*)/(.*)/Dockerfile.*'\nimage = 'acme/{2}:{version}-{tag}'\n";
    let root = files(&[
        ("freshmaker.toml", manifest),
        ("Base/Dockerfile", "FROM debian:12\n"),
        ("ToolBase/Dockerfile", "FROM acme/base\n"),
        ("v1.2/Site/Dockerfile.slim", "FROM acme/tool-base\n"),
    ]);
    let catalog = FilesCatalog::from_manifest(root.path().join("freshmaker.toml")).unwrap();
    assert_eq!(told(&root, catalog.problems()), [""; 0]);
    assert_eq!(
        drawn(catalog.graph()),
        [
            "acme/base:latest <- debian:12 ParentImage",
            "acme/site:1.2-slim <- acme/tool-base:latest ParentImage",
            "acme/tool-base:latest <- acme/base:latest ParentImage",
        ]
    );
}

#[test]
fn compose_files_name_images_where_that_is_certain() {
    let compose = "x-build: &api\n  context: ./api\n  dockerfile: prod.recipe\nservices:\n  api:\n    build: *api\n    image: shop/api:2\n\
                   \u{20} web:\n    image: shop/web\n    build: web\n  again: {image: shop/web, build: {context: web, args: {A: b}}}\n\
                   \u{20} db:\n    image: postgres:17\n  job:\n    build: job\n    image: shop/job:${TAG:-1}\n\
                   \u{20} stage:\n    build: {context: job, target: test}\n    image: shop/test\n\
                   \u{20} one: {build: two, image: shop/one}\n  two: {build: two, image: shop/two}\n\
                   \u{20} gone: {build: gone, image: shop/gone}\n  out: {build: ../out, image: shop/out}\n\
                   \u{20} git: {build: 'https://example.com/x.git', image: shop/git}\n";
    let debian = "FROM debian:12\n";
    let root = files(&[
        ("compose.yaml", compose),
        ("docker-compose.yml", "services: {web: {build: web, image: never/read}}\n"),
        ("api/prod.recipe", debian),
        ("web/Dockerfile", "FROM shop/api:2\n"),
        ("job/Dockerfile", "FROM shop/web\n"),
        ("two/Dockerfile", debian),
        ("named/compose.yml", "services: {x: {build: ., image: shop/x}}\n"),
        ("named/Dockerfile", "# freshmaker: image=shop/named\nFROM debian:12\n"),
        ("over/docker-compose.yml", "services: {x: {build: ., image: shop/over}}\n"),
        ("over/docker-compose.override.yml", ""),
        ("over/Dockerfile", debian),
        ("pg/compose.yml", "services: {x: {build: ., image: 'postgres:17'}}\n"),
        ("pg/Dockerfile", "FROM postgres:17\n"),
        ("bad/compose.yaml", "services:\n  - x\n y: z\n"),
    ]);
    let tree = scan(&root);
    assert_eq!(told(&root, &tree.problems), [""; 0]);
    assert_eq!(
        parents(&tree),
        [
            "api/prod.recipe: shop/api:2 <- debian:12",
            "job/Dockerfile: localhost/job:latest <- docker.io/shop/web:latest",
            "named/Dockerfile: shop/named:latest <- debian:12",
            "over/Dockerfile: localhost/over:latest <- debian:12",
            "pg/Dockerfile: localhost/pg:latest <- postgres:17",
            "two/Dockerfile: localhost/two:latest <- debian:12",
            "web/Dockerfile: shop/web:latest <- docker.io/shop/api:2",
        ]
    );
    let not_used = |service: &str, why: &str| format!("the image of the service {service} is not used: {why}");
    let mut remarks = told(&root, &tree.remarks);
    assert!(remarks.remove(0).starts_with("bad/compose.yaml:3: no names are taken from it: "), "{remarks:?}");
    assert_eq!(
        remarks,
        [
            format!("compose.yaml:14: {}", not_used("job", "its image has variables")),
            format!("compose.yaml:17: {}", not_used("stage", "it builds with target")),
            format!("compose.yaml:20: {}", not_used("one", "its file is built under several names")),
            format!("compose.yaml:21: {}", not_used("two", "its file is built under several names")),
            format!("compose.yaml:22: {}", not_used("gone", "gone/Dockerfile: there is no such file")),
            format!("compose.yaml:23: {}", not_used("out", "../out/Dockerfile: it is not in the tree")),
            format!("compose.yaml:24: {}", not_used("git", "its context is not a directory")),
            format!("over/docker-compose.yml:1: {}", not_used("x", "docker-compose.override.yml may change it")),
        ]
    );
    // A pattern of the user says how all images are called.
    let naming = Naming { pattern: Some("q.io/{name}".to_owned()), ..Naming::default() };
    let tree = tree::scan(root.path(), &naming).unwrap();
    assert_eq!(tree.files["web/Dockerfile"], "q.io/web:latest".into());
}

#[test]
fn services_that_build_something_else_than_their_file_are_remarked_on() {
    let compose = "x-b: &b\n  target: dev\nx-c: &c {context: merged, dockerfile: D}\nservices:\n\
                   \u{20} web:\n    image: acme/web\n    build: {<<: *b, context: web}\n\
                   \u{20} merged:\n    image: acme/merged\n    build: {<<: [*c]}\n\
                   \u{20} arg:\n    image: acme/arg\n    build: {context: arg, args: {BASE: 'debian:12'}}\n\
                   \u{20} list:\n    image: acme/list\n    build: {context: list, args: [UNUSED=1, BASE]}\n\
                   \u{20} near:\n    image: acme/near\n    build: {context: near, args: [OTHER=1]}\n\
                   \u{20} copy:\n    image: acme/copy\n    build: {context: copy, args: [FROM=acme/x]}\n\
                   \u{20} arch:\n    image: acme/arch\n    build: {context: arch, args: {TARGETARCH: arm64}}\n\
                   \u{20} flat:\n    image: acme/flat\n    build: {context: flat, args: {X: y}}\n\
                   \u{20} ctx:\n    image: acme/ctx\n    build: {context: ctx, additional_contexts: [b=service:web]}\n\
                   \u{20} common: {build: {context: ext, target: dev}}\n\
                   \u{20} ext: {extends: common, image: acme/ext, build: ext}\n\
                   \u{20} plain: {build: plain}\n\
                   \u{20} named: {extends: {service: plain}, image: acme/plain}\n\
                   \u{20} same: {extends: named}\n\
                   \u{20} far: {extends: {file: x.yml, service: y}, image: acme/far}\n\
                   \u{20} self: {extends: self, image: acme/self}\n\
                   \u{20} lost: {extends: nobody, image: acme/lost}\n";
    let arg = "ARG BASE=alpine:3.20\nFROM $BASE\nARG OTHER\n";
    let debian = "FROM debian:12\n";
    let root = files(&[
        ("compose.yaml", compose),
        ("web/Dockerfile", debian),
        ("merged/D", debian),
        ("arg/Dockerfile", arg),
        ("list/Dockerfile", arg),
        ("near/Dockerfile", arg),
        ("copy/Dockerfile", "FROM debian:12\nARG FROM=acme/y\nRUN --mount=from=$FROM,target=/x true\n"),
        ("arch/Dockerfile", "FROM a AS x-arm64\nFROM b AS x-amd64\nFROM x-$TARGETARCH\n"),
        ("flat/Dockerfile", "FROM debian:12\nARG X\nRUN --mount=type=cache,target=/x echo $X\n"),
        ("ctx/Dockerfile", debian),
        ("ext/Dockerfile", debian),
        ("plain/Dockerfile", debian),
    ]);
    let tree = scan(&root);
    assert_eq!(told(&root, &tree.problems), [""; 0]);
    let named: Vec<_> = tree.files.iter().map(|(file, id)| format!("{file} {id}")).collect();
    let named: Vec<_> = named.iter().filter(|line| line.contains("acme")).collect();
    assert_eq!(
        named,
        [
            "flat/Dockerfile docker.io/acme/flat:latest",
            "merged/D docker.io/acme/merged:latest",
            "near/Dockerfile docker.io/acme/near:latest",
            "plain/Dockerfile docker.io/acme/plain:latest"
        ]
    );
    let why: Vec<_> = [
        "5 web it builds with target",
        "11 arg it sets the argument BASE, on which the images in arg/Dockerfile may depend",
        "14 list it sets the argument BASE, on which the images in list/Dockerfile may depend",
        "20 copy it sets the argument FROM, on which the images in copy/Dockerfile may depend",
        "23 arch it sets the argument TARGETARCH, on which the images in arch/Dockerfile may depend",
        "29 ctx it builds with additional_contexts",
        "33 ext it builds with target",
        "37 far it extends a service of another file",
        "38 self it extends itself, or more than 16 services",
        "39 lost it extends nobody, which is not there",
    ]
    .map(|text| text.splitn(3, ' ').collect::<Vec<_>>())
    .iter()
    .map(|of| format!("compose.yaml:{}: the image of the service {} is not used: {}", of[0], of[1], of[2]))
    .collect();
    assert_eq!(told(&root, &tree.remarks), why);
}

/// Each is a file in which Compose finds a service `a` with an image and the build context `.`.
#[test]
fn compose_files_are_read_as_libyaml_reads_them() {
    for after in [
        "command: [\n      x\n    ]\n",
        "command: [ x\n    , y ]\n",
        "ports: [\n      '1:1', # c\n      # d\n      '2:2',\n    ]\n",
        "labels: {\n    x: y\n    }\n",
        "command: \"x\n    y\"\n",
        "command: 'x\n    y'\n",
        "labels: !!map {x: !local y}\n",
    ] {
        let compose = format!("services:\n  a:\n    image: acme/a:1\n    build: .\n    {after}");
        for compose in [format!("\u{feff}{compose}"), compose.replace('\n', "\r\n"), compose] {
            let root = files(&[("compose.yaml", &compose), ("Dockerfile", "FROM debian:12\n")]);
            let tree = scan(&root);
            assert_eq!(told(&root, &tree.remarks), [""; 0], "{compose}");
            assert_eq!(tree.files["Dockerfile"], "docker.io/acme/a:1".into(), "{compose}");
        }
    }
}

#[test]
fn no_names_are_taken_from_compose_files_that_compose_refuses_or_merges() {
    let a = "  a:\n    image: acme/a:1\n";
    for (compose, why) in [
        (format!("services:\n{a}    build: .\n---\nservices: {{}}\n"), "5: a second document begins here, which is"),
        (format!("services:\n{a}    build: .\n---\n"), "5: a second document begins here, which is"),
        (format!("services:\n{a}    build: .\n    image: x\n"), "5: the key image is given twice, first in line 3"),
        (format!("services:\n{a}    build: .\n{a}"), "5: the key a is given twice, first in line 2"),
        (format!("x: &x {{}}\nservices:\n{a}    <<: *x\n    <<: *x\n"), "6: the key << is given twice"),
        (format!("services:\n{a}    build:\n"), "4: the build of the service a is not a text or a mapping"),
        (format!("services:\n{a}    build: []\n"), "4: the build of the service a is not a text or a mapping"),
        (format!("services:\n{a}    build: 3.12\n"), "4: the build of the service a is not a text or a mapping"),
        (format!("services:\n{a}    build: {{context: }}\n"), "4: the context of the service a is not a text"),
        (format!("services:\n{a}    build: {{args: ~}}\n"), "4: the args of the service a is not a mapping or a list"),
        (format!("services:\n{a}    build: .\n  b:\n"), "5: the service b is not a mapping"),
        (format!("services:\n{a}    build: .\n  b: {{image: 12}}\n"), "5: the image of the service b is not a text"),
        (format!("services:\n{a}    build: !override .\n"), "4: !override changes what it says"),
        (format!("services:\n{a}    build: .\n    ports: !reset []\n"), "5: !reset changes what it says"),
    ] {
        let root = files(&[("compose.yaml", &compose), ("Dockerfile", "FROM debian:12\n")]);
        let tree = scan(&root);
        let [remark] = &told(&root, &tree.remarks)[..] else { panic!("{compose}{:?}", tree.remarks) };
        let expected = why.replacen(": ", ": no names are taken from it: ", 1);
        assert!(remark.starts_with(&format!("compose.yaml:{expected}")), "{remark}");
        assert!(!tree.files.values().any(|image| *image == "docker.io/acme/a:1".into()), "{compose}");
    }
}

#[test]
fn bake_files_name_images_where_that_is_certain() {
    let bake = "variable \"TAG\" {\n  default = \"1\"\n}\ngroup \"default\" {\n  targets = [\"base\"]\n}\n\
                target \"base\" {\n  context = \"base\"\n  tags = [\"docker.io/acme/base:1\"]\n  args = { OTHER = TAG }\n}\n\
                target app {\n  dockerfile = \"app/D\"\n  tags = [\"acme/app\"]\n}\n\
                target \"var\" {\n  context = \"var\"\n  tags = [\"acme/var:${TAG}\"]\n}\n\
                target \"two\" {\n  context = \"var\"\n  tags = [\"acme/var:1\", \"acme/var\"]\n}\n\
                target \"kin\" {\n  inherits = [\"base\"]\n  tags = [\"acme/kin\"]\n}\n\
                target \"arg\" {\n  context = \"arg\"\n  args = { BASE = \"x\" }\n  tags = [\"acme/arg\"]\n}\n\
                target \"none\" {\n  context = \"none\"\n}\n\
                target \"twice\" {\n  tags = [\"acme/a\"]\n}\ntarget \"twice\" {\n  context = \"base\"\n}\n";
    let debian = "FROM debian:12\n";
    let root = files(&[
        ("docker-bake.hcl", bake),
        ("base/Dockerfile", debian),
        ("app/D", "FROM acme/base:1\n"),
        ("var/Dockerfile", debian),
        ("arg/Dockerfile", "ARG BASE=debian:12\nFROM $BASE\n"),
        ("both/docker-bake.hcl", "\u{feff}target \"a\" {\n  tags = [\"acme/both\"]\n}\n"),
        ("both/compose.yaml", "services: {}\n"),
        ("both/Dockerfile", debian),
        ("bad/docker-bake.hcl", "target \"a\" {\n  tags = \n}\n"),
        ("deep/docker-bake.hcl", &format!("a = {}\n", "[".repeat(100_000))),
    ]);
    let tree = scan(&root);
    assert_eq!(told(&root, &tree.problems), [""; 0]);
    assert_eq!(
        parents(&tree),
        [
            "app/D: acme/app:latest <- docker.io/acme/base:1",
            "arg/Dockerfile: localhost/arg:latest <- debian:12",
            "base/Dockerfile: acme/base:1 <- debian:12",
            "both/Dockerfile: localhost/both:latest <- debian:12",
            "var/Dockerfile: localhost/var:latest <- debian:12",
        ]
    );
    let mut remarks = told(&root, &tree.remarks);
    assert!(remarks.remove(0).starts_with("bad/docker-bake.hcl:2: no names are taken from it: "), "{remarks:?}");
    assert!(remarks.remove(1).starts_with("deep/docker-bake.hcl:1: no names are taken from it: "), "{remarks:?}");
    let not_used = |target: &str, why: &str| format!("the image of the target {target} is not used: {why}");
    assert_eq!(
        remarks,
        [
            format!("both/docker-bake.hcl:1: {}", not_used("a", "compose.yaml may change it")),
            format!("docker-bake.hcl:16: {}", not_used("var", "its tag is not a plain text")),
            format!("docker-bake.hcl:20: {}", not_used("two", "it does not have one tag")),
            format!("docker-bake.hcl:24: {}", not_used("kin", "it builds with inherits")),
            format!(
                "docker-bake.hcl:28: {}",
                not_used("arg", "it sets the argument BASE, on which the images in arg/Dockerfile may depend")
            ),
            format!("docker-bake.hcl:36: {}", not_used("twice", "it has no name of its own")),
        ]
    );
}

#[test]
fn problems_that_cost_an_edge_come_first() {
    let manifest = "[tree.images]\n'a' = 'a'\n";
    let root = files(&[
        ("freshmaker.toml", manifest),
        ("b/Dockerfile", "NO\n"),
        ("y/Dockerfile", "FROM debian\nFROM $X\n"),
        ("z/Dockerfile", "FROM Debian\n"),
    ]);
    let catalog = FilesCatalog::from_manifest(root.path().join("freshmaker.toml")).unwrap();
    let problems = told(&root, catalog.problems());
    let places: Vec<&str> = problems.iter().filter_map(|problem| problem.split(' ').next()).collect();
    assert_eq!(places, ["y/Dockerfile:2:", "z/Dockerfile:1:", "b/Dockerfile:1:", "a:"]);
}

#[test]
fn how_the_root_is_written_does_not_matter() {
    let root = files(&[("My+New  Team_/Dockerfile", "FROM $X\n"), ("My+New  Team_/base/Dockerfile", "FROM $X\n")]);
    let directory = root.path().join("My+New  Team_");
    for written in ["", ".", "./.", "base/.."] {
        let tree = tree::scan(&directory.join(written), &Naming::default()).unwrap();
        assert_eq!(tree.files["Dockerfile"], "localhost/my-new-team:latest".into());
        let problem = tree.problems[0].to_string();
        assert!(!problem.contains("/./") && problem.contains("Dockerfile:1: FROM $X: "), "{problem}");
        let sources = tree.graph.artifacts().filter_map(|artifact| artifact.source.as_ref());
        assert!(sources.map(|source| &source.location).all(|place| !place.contains("/./")));
    }
}

#[test]
fn bytes_that_are_no_text_matter_only_where_they_are_read() {
    let root = files(&[("zero/Dockerfile", "FROM debian:12\nFROM a\0b\n")]);
    fs::create_dir(root.path().join("latin")).unwrap();
    fs::write(root.path().join("latin/Dockerfile"), b"# J\xf6rg\nFROM debian:12\nLABEL by=J\xf6rg\n").unwrap();
    fs::create_dir(root.path().join("wide")).unwrap();
    let wide: Vec<u8> = "\u{feff}FROM debian:12\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(root.path().join("wide/Dockerfile"), wide).unwrap();
    let tree = scan(&root);
    assert_eq!(drawn(&tree.graph), ["localhost/latin:latest <- debian:12 ParentImage"]);
    assert_eq!(
        told(&root, &tree.problems),
        [
            "wide/Dockerfile:1: it is not text: there is a zero byte",
            "zero/Dockerfile:2: it is not text: there is a zero byte",
        ]
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_only_looks_like_a_file_stops_nothing() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = files(&[("a/Dockerfile", "FROM debian:12\n"), ("empty/Dockerfile", ""), ("from/Dockerfile", "FROM\n")]);
    fs::create_dir_all(root.path().join("directory/Dockerfile")).unwrap();
    let odd = root.path().join(OsStr::from_bytes(b"odd\xff"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("Dockerfile"), "FROM debian:12\n").unwrap();
    fs::create_dir(root.path().join("pipe")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(root.path().join("pipe/Dockerfile")).status();
    assert!(pipe.unwrap().success());
    let tree = scan(&root);
    assert_eq!(tree.files.len(), 1);
    assert_eq!(
        told(&root, &tree.problems),
        [
            "empty/Dockerfile:1: expected at least one FROM instruction",
            "from/Dockerfile:1: FROM instruction requires at least one argument",
            "odd\u{fffd}: left out, because its name is not text",
        ]
    );
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_into_cycles() {
    let root = files(&[("a/Dockerfile", "FROM debian:12\n")]);
    std::os::unix::fs::symlink("..", root.path().join("a/up")).unwrap();
    fs::create_dir(root.path().join("b")).unwrap();
    std::os::unix::fs::symlink("../a/Dockerfile", root.path().join("b/Dockerfile")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.path().join("b/Dockerfile.gone")).unwrap();
    let tree = scan(&root);
    assert!(tree.problems.is_empty());
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["a/Dockerfile", "b/Dockerfile"]);
}

#[test]
fn targets_of_bake_files_with_other_outputs_build_no_image() {
    for (attributes, is_image) in [
        ("contexts = {}", true),
        ("contexts = { x = \"docker-image://y\" }", false),
        ("output = [\"type=registry\"]", true),
        ("output = [\"type=local,dest=out\"]", false),
        ("output = [\"type=cacheonly\"]", false),
        ("output = [OUT]", false),
    ] {
        let bake = format!("target \"a\" {{\n  tags = [\"acme/a:1\"]\n  {attributes}\n}}\n");
        let root = files(&[("docker-bake.hcl", &bake), ("Dockerfile", "FROM debian:12\n")]);
        let tree = scan(&root);
        assert_eq!(tree.files["Dockerfile"] == "docker.io/acme/a:1".into(), is_image, "{attributes}");
        assert_eq!(tree.remarks.is_empty(), is_image, "{attributes}: {:?}", tree.remarks);
    }
}

/// The expectations are those of BuildKit's own frontend, which was asked.
#[test]
fn only_what_is_run_is_illegal() {
    let read = |text: &str| match containerfile::parse(text) {
        Err(problem) => format!("refused: {problem}"),
        Ok(recipe) => match recipe.problems.first() {
            Some(problem) => format!("problem: {problem}"),
            None => "fine".to_owned(),
        },
    };
    for (text, expected) in [
        ("FROM a AS s1\nFROM s1\n", "fine"),
        ("FROM a AS S1\nFROM s1\n", "fine"),
        ("FROM a AS s1\nFROM b\nCOPY --from=S1 a b\n", "fine"),
        ("FROM a AS s1\nFROM S1\n", "problem: line 2: "),
        ("ARG X=S1\nFROM a AS s1\nFROM $X\n", "problem: line 3: "),
        ("FROM a\nONBUILD foo x\n", "fine"),
        ("FROM a\nONBUILD COPY --bogus a b\n", "fine"),
        ("FROM a\nONBUILD COPY --from=Builder a b\n", "fine"),
        ("FROM a\nONBUILD COPY --from=$X a b\n", "fine"),
        ("FROM a\nONBUILD RUN --mount=type=zzz x\n", "fine"),
        ("FROM a AS b\nONBUILD foo x\nFROM b AS c\nFROM d\n", "fine"),
        ("FROM a AS b\nONBUILD foo x\nFROM b\n", "refused: line 2: ONBUILD: unknown instruction 'foo'"),
        ("FROM a AS b\nONBUILD COPY --bogus a b\nFROM b\n", "refused: line 2: ONBUILD: COPY has no flag --bogus"),
        ("FROM a AS b\nONBUILD RUN --mount=type=zzz x\nFROM b\n", "refused: line 2: --mount: there is no type"),
        ("FROM a\nONBUILD FROM x\n", "refused: line 2: FROM is not allowed after ONBUILD"),
        ("FROM a\nONBUILD foo <<E\nbar\nE\n", "refused: line 3: unknown instruction 'bar'"),
        ("FROM a AS b\nCOPY --from=later x y\nFROM c AS later\nFROM d\n", "fine"),
        ("FROM a AS b\nRUN --mount=type=zzz x\nFROM d\n", "fine"),
        ("FROM a AS b\nCOPY --from=later x y\nFROM c AS later\nFROM b\n", "problem: line 2: from=later: this stage"),
        ("FROM a AS b\nRUN --mount=type=zzz x\nFROM b\n", "refused: line 2: --mount: there is no type"),
        ("FROM a AS b\nCOPY --from=5 x y\nFROM d\n", "problem: line 2: from=5: there is no such stage"),
        ("FROM a AS b\nCOPY --from=b x y\nFROM d\n", "problem: line 2: from=b: a stage cannot copy from itself"),
    ] {
        let found = read(text);
        assert!(if expected == "fine" { found == expected } else { found.starts_with(expected) }, "{text}: {found}");
    }
}

#[test]
fn pinned_unused_and_onbuild_images_are_explained() {
    let pin = format!("FROM debian:12@sha256:{}\nONBUILD COPY --from=x:1 / /\n", "0".repeat(64));
    let root = files(&[("pin/Dockerfile", &pin), ("use/Dockerfile", "FROM debian:12 AS no\nFROM alpine\n")]);
    let tree = scan(&root);
    assert_eq!(
        drawn(&tree.graph),
        [
            "localhost/pin:latest !onbuild x:1",
            "localhost/pin:latest !pinned_by_digest debian:12",
            "localhost/use:latest !unused_stage debian:12",
            "localhost/use:latest <- alpine:latest ParentImage",
        ]
    );
    let texts: Vec<_> = tree.graph.all_notes().map(|(_, note)| note.text.as_str()).collect();
    assert!(texts.contains(&"pin/Dockerfile:1 pins debian:12 by digest"), "{texts:?}");
    let plan = tree.graph.plan(&["docker.io/library/debian:12".into()], &Policy::allow_all()).unwrap();
    assert_eq!(plan.excluded(&"localhost/pin:latest".into()).unwrap().code, "pinned_by_digest");
}

const MANIFEST: &str = r#"
[tree]
path = "images"
image = "registry.example.com/team/{path}:{tag}"

[tree.images]
"old/Dockerfile" = "registry.example.com/old/app:7"

[[artifact]]
name = "registry.example.com/team/app"
kind = "image"
system = "local"
aliases = ["the-app"]

[[artifact]]
name = "site"
kind = "module"
source = "site/"
parents = ["registry.example.com/team/app", "old"]
"#;

#[tokio::test]
async fn a_manifest_and_its_tree_are_one_catalog() {
    let root = files(&[
        ("freshmaker.toml", MANIFEST),
        ("images/base/Dockerfile", "FROM debian:12\n"),
        ("images/app/Dockerfile", "FROM registry.example.com/team/base\n"),
        ("images/old/Dockerfile", "FROM base\n"),
    ]);
    let catalog = FilesCatalog::from_manifest(root.path().join("freshmaker.toml")).unwrap();
    assert!(catalog.problems().is_empty());
    assert_eq!(
        drawn(catalog.graph()),
        [
            "registry.example.com/old/app:7 <- registry.example.com/team/base:latest ParentImage",
            "registry.example.com/team/app:latest <- registry.example.com/team/base:latest ParentImage",
            "registry.example.com/team/base:latest <- debian:12 ParentImage",
            "site <- registry.example.com/old/app:7 BuildDependency",
            "site <- registry.example.com/team/app:latest BuildDependency",
        ]
    );
    let asked = ArtifactId::new("the-app");
    let answer = catalog.dependents(std::slice::from_ref(&asked)).await.unwrap().graph;
    assert_eq!(answer.canonical(&asked), Some(&"registry.example.com/team/app:latest".into()));
    assert_eq!(answer.get(&asked).unwrap().system.as_deref(), Some("local"));
    assert!(answer.get(&asked).unwrap().buildable());
}

#[test]
fn a_pattern_makes_arguments_lead_into_the_tree() {
    let child = "ARG HOST=quay.io\nARG TEAM=team\nARG BASE=$HOST/$TEAM/base-image\nFROM $BASE\n";
    let root = files(&[
        ("freshmaker.toml", "[tree]\nimage = 'quay.io/team/{name}'\n"),
        ("images/base-image/Dockerfile", "FROM debian:12\n"),
        ("images/app/Dockerfile", child),
    ]);
    let catalog = FilesCatalog::from_manifest(root.path().join("freshmaker.toml")).unwrap();
    assert_eq!(
        drawn(catalog.graph()),
        [
            "quay.io/team/app:latest <- quay.io/team/base-image:latest ParentImage",
            "quay.io/team/base-image:latest <- debian:12 ParentImage",
        ]
    );
}

#[test]
fn what_a_manifest_says_in_vain_is_reported() {
    let manifest = "[tree.images]\n'base' = 'a'\n'./base/Dockerfile' = 'b'\n'notes.txt' = 'c'\n'gone' = 'd'\n
[[artifact]]\nname = 'docker.io/bsae'\nkind = 'image'\nestimate_s = 3\n
[[artifact]]\nname = 'debian:12'\nkind = 'image'\n";
    let root = files(&[("freshmaker.toml", manifest), ("base/Dockerfile", "FROM debian:12\n"), ("notes.txt", "")]);
    let catalog = FilesCatalog::from_manifest(root.path().join("freshmaker.toml")).unwrap();
    let given = "an image is given to it, but";
    assert_eq!(
        told(&root, catalog.problems()),
        [
            "notes.txt:1: expected at least one FROM instruction".to_owned(),
            format!("base: {given} this is a directory, did you mean \"base/Dockerfile\"?"),
            format!("gone: {given} there is no such file"),
            "freshmaker.toml:8: artifact[0].name: no file and no source builds docker.io/library/bsae:latest, and nothing is built from it, \
             did you mean \"docker.io/library/b:latest\"?"
                .to_owned(),
        ]
    );
}

#[tokio::test]
async fn names_are_completed_and_unknown_ones_get_help() {
    let root = files(&[("app/Dockerfile", "FROM debian:12\n"), ("web/Dockerfile", "FROM app\n")]);
    let catalog = FilesCatalog::from_tree(root.path()).unwrap();
    let digest = format!("debian:12@sha256:{}", "a".repeat(64));
    for name in ["debian:12", "docker.io/library/debian:12", "index.docker.io/debian:12", &digest] {
        let answer = catalog.dependents(&[name.into()]).await.unwrap().graph;
        assert_eq!(answer.len(), 3, "{name}");
        assert_eq!(answer.canonical(&name.into()), Some(&"docker.io/library/debian:12".into()), "{name}");
    }
    for (name, hint) in
        [("debain:12", "debian:12"), ("localhost/ap", "localhost/app:latest"), ("%", "there is no artifact %")]
    {
        let answer = catalog.describe(&[name.into()]).await.unwrap();
        let sentence = &answer.unknown[&name.into()];
        assert!(sentence.contains(name) && sentence.contains(hint), "{sentence}");
    }
    let pinned = format!("debian@sha256:{}", "a".repeat(64));
    let answer = catalog.describe(&[pinned.as_str().into()]).await.unwrap();
    assert_eq!(answer.unknown.len(), 1, "without a tag nobody knows which debian");
}

#[test]
fn mistakes_in_files_are_told_with_their_place() {
    let root =
        files(&[("bad.toml", "[[artifact]]\nname = 'a'\nkinds = 'rpm'\n"), ("tree.toml", "[tree]\npath = 'gone'\n")]);
    let error = FilesCatalog::from_manifest(root.path().join("bad.toml")).unwrap_err();
    assert!(matches!(error, FilesError::Manifest(_)));
    let expected = "bad.toml:3: artifact[0].kinds: unknown key, did you mean \"kind\"?";
    assert!(error.to_string().contains(expected), "{error}");
    let error = FilesCatalog::from_manifest(root.path().join("tree.toml")).unwrap_err().to_string();
    assert!(error.contains("tree.toml:2: tree.path: ") && error.contains("gone: No such file"), "{error}");
    assert!(FilesCatalog::from_manifest(root.path().join("none.toml")).is_err());
}

#[test]
fn the_same_files_give_the_same_graph() {
    let names: Vec<String> = (0..60).map(|at| format!("d{}/e{at}/Dockerfile", at % 7)).collect();
    let text = "FROM d1:e8\nCOPY --from=d3/e3 / /\n";
    let tree: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), text)).collect();
    let root = files(&tree);
    let (first, second) = (scan(&root), scan(&root));
    assert_eq!(drawn(&first.graph), drawn(&second.graph));
    assert_eq!(first.problems, second.problems);
    assert_eq!(first.graph.parents(&"localhost/d0/e0:latest".into()).len(), 2);
    assert!(first.graph.edges().any(|(_, _, kind)| kind == EdgeKind::BuilderStage));
}

mod contract {
    use super::{FilesCatalog, files};
    use freshmaker::memory::MemoryCatalog;
    use freshmaker_testing::conformance::{self, CatalogExpectation};

    #[tokio::test]
    async fn both_catalogs_keep_the_contract() {
        let root = files(&[
            ("base/Dockerfile", "FROM debian:12\n"),
            ("app/Dockerfile", "FROM base\nCOPY --from=busybox / /\n"),
            ("site/Dockerfile", "FROM app AS a\nFROM base\nCOPY --from=a / /\n"),
        ]);
        let catalog = FilesCatalog::from_tree(root.path()).unwrap();
        let expect = |aliases: &[(&str, &str)]| CatalogExpectation {
            graph: catalog.graph().clone(),
            aliases: aliases.iter().map(|(alias, id)| ((*alias).into(), (*id).into())).collect(),
            unknown: "registry.example.com/nothing".into(),
        };
        let by_alias = [("docker.io/library/base:latest", "localhost/base:latest")];
        conformance::catalog(&MemoryCatalog::new(catalog.graph().clone()), &expect(&by_alias)).await;
        let by_name = [by_alias[0], ("base", "localhost/base:latest"), ("debian:12", "docker.io/library/debian:12")];
        conformance::catalog(&catalog, &expect(&by_name)).await;
    }
}

const PIECES: &[&str] = &[
    "FROM ",
    "from",
    "COPY ",
    "ADD ",
    "RUN ",
    "ARG ",
    "ONBUILD ",
    "ENV ",
    "HEALTHCHECK ",
    "CMD ",
    "VOLUME ",
    "SHELL ",
    "EXPOSE ",
    "LABEL ",
    " AS ",
    "--from=",
    "--mount=type=bind,from=",
    "--platform=",
    "a",
    "b:1",
    "0",
    "1",
    "$A",
    "${A:-b}",
    "${A",
    "A=1",
    "$TARGETARCH",
    "scratch",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "\\\n",
    "\\",
    "`",
    "`\n",
    "# escape=`\n",
    "# syntax=x\n",
    "#",
    "<<E",
    "<<-'E'",
    "\nE\n",
    "\"",
    "'",
    "[\"a\", \"b\"]",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    "é",
    "\u{feff}",
    "\0",
    "\u{b}",
    "\u{c}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "@sha256:",
    "%",
    "/",
];

fn likely() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        let _ = containerfile::parse(&text);
    }

    #[test]
    fn no_likely_text_panics(text in likely()) {
        for text in [text.clone(), format!("FROM a\n{text}")] {
            let lines = text.lines().count() + 1;
            match containerfile::parse(&text) {
                Ok(recipe) => assert!(recipe.images.iter().all(|used| (1..=lines).contains(&used.line))),
                Err(problem) => assert!((1..=lines).contains(&problem.line), "{problem}"),
            }
        }
    }
}

#[test]
fn a_manifest_brings_its_policy() {
    let manifest = "[[policy.block]]\nartifact = \".*/old-.*\"\nbecause = \"retired\"\n";
    let root = files(&[("freshmaker.toml", manifest)]);
    let catalog = FilesCatalog::from_manifest(root.path().join("freshmaker.toml")).unwrap();
    let facts = |artifact| freshmaker::policy::Facts::default().with("artifact", artifact);
    assert!(catalog.policy().judge(&facts("docker.io/team/app")).allowed);
    assert!(!catalog.policy().judge(&facts("docker.io/team/old-app")).allowed);
}

#[test]
fn a_mistake_in_the_policy_names_file_line_and_key() {
    let cases = [
        (
            "[[policy.block]]\nartifact = 'a'\n\n[[policy.block]]\ntarget = 'x'\nartifact = \"(\"\n",
            "m.toml:6: policy.block[1].artifact: ",
        ),
        ("[policy]\nblok = []\n", "m.toml:"),
        (
            "[[policy.allow]]\nany = [{ artifact = 'a' },\n  { artifact = '[' }]\n",
            "m.toml:3: policy.allow[0].any[1].artifact: ",
        ),
    ];
    for (text, expected) in cases {
        let problems = freshmaker_local::files::manifest::Manifest::parse("m.toml", text).unwrap_err();
        assert!(problems.len() == 1 && problems[0].to_string().starts_with(expected), "{text}: {problems:?}");
    }
}
