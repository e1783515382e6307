//! All commands and their options, as one table: what is read, the help and the completions are
//! made of it.

use crate::commands::{ANY, Flag, Spec, Table, flag, spec};

const FLAGS: [Flag; 16] = [
    flag("--dir", "DIR", "the directory of the service; the current one if not given"),
    flag("--json", "", "write JSON"),
    flag("--registry", "HOST[/PATH]", "where images are pushed to; needed if DIR has no image_service.toml yet"),
    flag("--plain-http", "", "reach that registry without TLS"),
    flag("--online", "", "also ask the registries, with each login; changes nothing"),
    flag("--format", "FORMAT", "text, json, dot (Graphviz), mermaid or svg"),
    flag("--digest", "DIGEST", "what the image is now; asked of its registry if not given"),
    flag("--alone", "", "do not rebuild what is built on the images"),
    flag("--fix", "ADVISORY", "the images contain what this advisory (such as CVE-2026-1234) fixes"),
    flag("--watch", "", "show it again when something changes, until interrupted"),
    flag("--follow", "", "(-f) go on until the build has ended"),
    flag("--all", "", "do everything again, and not only what failed"),
    flag("--to", "DIGEST", "an earlier content of the tag; the one before the present one if not given"),
    flag("--requeue", "ID", "handle this message again"),
    flag("--by", "NAME", "who does it; the user of this process if not given"),
    flag("--help", "", "(-h) this text"),
];

pub(super) const COMMANDS: [Spec; 24] = [
    spec("init", "[DIR]", 0, 1, &["--registry", "--plain-http"], "write a commented image_service.toml"),
    spec("serve", "[DIR]", 0, 1, &["--registry", "--plain-http"], "keep the images of DIR fresh, until interrupted"),
    spec("check-config", "", 0, 0, &["--online"], "read everything, and say what cannot work"),
    spec("check-state", "", 0, 0, &[], "compare all that is stored with itself, also while the service runs"),
    spec("plan", "IMAGE…", 1, ANY, &["--format"], "what would be rebuilt if these had changed; nothing is done"),
    spec(
        "send",
        "IMAGE…",
        1,
        ANY,
        &["--digest", "--alone", "--fix", "--by"],
        "say that a base has changed, or rebuild images",
    ),
    spec("status", "", 0, 0, &["--watch"], "the state of all images, and of the service"),
    spec("show", "[EVENT]", 0, 1, &[], "the latest events; or one of them, with its plan and its builds"),
    spec("why", "IMAGE", 1, 1, &[], "why an image was rebuilt, was not, or waits"),
    spec("logs", "IMAGE", 1, 1, &["--follow"], "what the latest build of an image has printed"),
    spec("retry", "EVENT", 1, 1, &["--all", "--by"], "do what failed again"),
    spec("cancel", "EVENT", 1, 1, &["--by"], "stop what an event started, unless others want it as well"),
    spec("confirm", "EVENT", 1, 1, &[], "start a plan that was too large to be started unasked"),
    spec("pause", "[REASON]", 0, ANY, &["--by"], "start no more builds; what runs goes on"),
    spec("resume", "", 0, 0, &[], "end a pause"),
    spec("hold", "IMAGE [REASON]", 1, ANY, &["--by"], "do not rebuild an image, nor what would follow it"),
    spec("release", "IMAGE", 1, 1, &[], "end a hold"),
    spec("rollback", "IMAGE", 1, 1, &["--to", "--by"], "move its tag back, stop what follows it, and hold it"),
    spec("dead-letters", "", 0, 0, &["--requeue"], "messages that could not be handled"),
    spec("dismiss", "MESSAGE [REASON]", 1, ANY, &["--by"], "put a dead letter away that cannot be mended"),
    spec("backup", "FILE", 1, 1, &[], "copy everything that is stored, while the service runs"),
    spec("restore", "FILE", 1, 1, &[], "go back to such a copy; the service has to be stopped"),
    spec("token", "NAME", 1, 1, &["--by"], "make a token for programs that use the REST interface"),
    spec("completions", "SHELL", 1, 1, &[], "completions for bash, zsh or fish"),
];

pub(super) const TABLE: Table = Table {
    commands: &COMMANDS,
    flags: &FLAGS,
    short: &[("-f", "--follow")],
    repeated: &[],
    common: |name| if matches!(name, "init" | "serve" | "completions") { &[] } else { &["--dir", "--json"] },
};

/// Returns the text of `--help`.
pub(crate) fn help() -> String {
    format!(
        "Keeps the images of a tree of Containerfiles fresh, with one registry and one machine.\n\n\
         usage: image_service COMMAND [options]\n\n{}  \
         stale [IMAGE…]           what is stale right now, without a service; see `stale --help`\n\n\
         options\n{}  \
         --version                (-V) the version of the program\n\n\
         exit status: 0 good; 1 something failed, or an image is not as it should be; 2 the command line makes no \
         sense;\nof stale: 3 an image is stale, 4 none is stale, but of one it is unknown\n",
        TABLE.help_of_commands(),
        TABLE.help_of_flags(),
    )
}
