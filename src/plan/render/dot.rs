//! A plan in the language of Graphviz, for `dot -Tsvg`.
//!
//! Each wave is a rank, broken dependencies are dashed, the critical path is bold, and the
//! exclusions are a cluster of their own. All texts are escaped for quoted strings of the language.

use super::picture::{Limits, Picture, Style};
use crate::plan::Plan;
use std::fmt::{self, Formatter};

/// With more, Graphviz needs minutes, and the picture cannot be read.
const LIMITS: Limits = Limits { boxes: 2000, waves: 300, arrows: 10_000, out: 500, label: LABEL };

/// The width of a label in cells.
const LABEL: usize = 60;

/// Writes the plan as a directed graph in the language of Graphviz: a rank for each wave, broken
/// dependencies dashed and without influence on the layout.
pub(super) fn write(plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
    let picture = Picture::of(plan, &LIMITS);
    writeln!(f, "digraph plan {{")?;
    writeln!(f, "  rankdir=LR;")?;
    writeln!(f, "  node [shape=box, style=filled, fontname=\"monospace\", fontsize=11];")?;
    if picture.arrows_hidden > 0 {
        writeln!(f, "  label=\"{} more dependencies are not drawn\";", picture.arrows_hidden)?;
    }
    for (number, tile) in picture.boxes.iter().enumerate() {
        let (label, tooltip) = (Escaped(&tile.label).to_string(), tooltip(&tile.tooltip()));
        let colors = match tile.class() {
            "changed" => "fillcolor=\"#fde68a\", color=\"#b45309\"",
            "direct" => "fillcolor=\"#fecaca\", color=\"#b91c1c\"",
            "dependency" => "fillcolor=\"#dbeafe\", color=\"#1d4ed8\"",
            _ => "fillcolor=\"#f3f4f6\", color=\"#6b7280\"",
        };
        let critical = if tile.critical { ", penwidth=3" } else { "" };
        writeln!(f, "  n{number} [label=\"{label}\", tooltip=\"{tooltip}\", {colors}{critical}];")?;
    }
    for layer in &picture.layers {
        write!(f, "  {{ rank=same;")?;
        layer.boxes.clone().try_for_each(|number| write!(f, " n{number};"))?;
        writeln!(f, " }}")?;
    }
    for arrow in &picture.arrows {
        let style = match arrow.style {
            Style::Critical => " [penwidth=3]",
            Style::Waits => " [color=\"#6b7280\"]",
            Style::Broken => " [style=dashed, constraint=false, color=\"#6b7280\"]",
        };
        writeln!(f, "  n{} -> n{}{style};", arrow.from, arrow.to)?;
    }
    write_out(&picture, f)?;
    writeln!(f, "}}")
}

/// Writes the exclusions as a cluster of their own.
fn write_out(picture: &Picture<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    if picture.out.is_empty() {
        return Ok(());
    }
    writeln!(f, "  subgraph cluster_out {{")?;
    writeln!(f, "    label=\"not rebuilt\"; style=dashed;")?;
    writeln!(f, "    node [style=dashed];")?;
    for (number, out) in picture.out.iter().enumerate() {
        let lines = [out.id.to_string(), format!("{}: {}", out.reason.code, out.reason.text)];
        writeln!(f, "    x{number} [label=\"{}\", tooltip=\"{}\"];", Escaped(&out.label), tooltip(&lines))?;
        if let Some(follows) = out.follows {
            writeln!(f, "    x{follows} -> x{number} [style=dashed];")?;
        }
    }
    if picture.out_hidden > 0 {
        writeln!(f, "    x{} [label=\"… {} more\"];", picture.out.len(), picture.out_hidden)?;
    }
    writeln!(f, "  }}")
}

fn tooltip(lines: &[String]) -> String {
    lines.iter().map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\\n")
}

/// A text within quotes. Graphviz reads backslashes and entities of HTML in it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match super::harmless(c) {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            '&' => f.write_str("&amp;"),
            c => write!(f, "{c}"),
        })
    }
}
