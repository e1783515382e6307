//! Completions for shells: names of commands, and the options of each.

use super::spec::TABLE;
use std::fmt::Write;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl FromStr for Shell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bash" => Ok(Self::Bash),
            "zsh" => Ok(Self::Zsh),
            "fish" => Ok(Self::Fish),
            other => Err(format!("there are completions for bash, zsh and fish, and not for {other:?}")),
        }
    }
}

impl Shell {
    /// Returns the script that the shell is to read.
    pub(crate) fn script(self) -> String {
        let names = TABLE.commands.iter().map(|spec| spec.name).chain(["stale"]).collect::<Vec<_>>().join(" ");
        match self {
            Self::Bash => bash(&names),
            // The shell reads the script of bash, through its own adapter.
            Self::Zsh => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(&names)),
            Self::Fish => fish(&names),
        }
    }
}

fn bash(names: &str) -> String {
    let mut cases = String::new();
    for spec in TABLE.commands {
        let options: Vec<_> = TABLE.flags_of(spec).map(|flag| flag.name).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(cases, "        {}) words=\"{}\" ;;", spec.name, options.join(" "));
    }
    format!(
        "_image_service() {{\n    local words=\"\"\n    case ${{COMP_WORDS[1]}} in\n{cases}    esac\n    \
         [ \"$COMP_CWORD\" -eq 1 ] && words=\"{names}\"\n    \
         COMPREPLY=($(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n}}\n\
         complete -o default -F _image_service image_service\n"
    )
}

fn fish(names: &str) -> String {
    let mut text = format!("complete -c image_service -n __fish_use_subcommand -f -a '{names}'\n");
    for spec in TABLE.commands {
        for flag in TABLE.flags_of(spec) {
            let needs = if flag.value.is_empty() { "" } else { " -r" };
            let name = flag.name.trim_start_matches('-');
            let of = spec.name;
            let _ = writeln!(text, "complete -c image_service -n '__fish_seen_subcommand_from {of}' -l {name}{needs}");
        }
    }
    text
}
