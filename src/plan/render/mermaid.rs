//! A plan as a Mermaid flowchart, for Markdown pages of forges.
//!
//! Mermaid refuses large texts, so the bounds are smaller than those of the other pictures. All
//! texts are escaped as entities, because names could otherwise end a label.

use super::names::short;
use super::picture::{Limits, Picture, Style};
use crate::plan::Plan;
use std::fmt::{self, Formatter};

/// Programs that embed Mermaid refuse more than 500 edges and 50,000 characters.
const LIMITS: Limits = Limits { boxes: 150, waves: 40, arrows: 400, out: 20, label: LABEL };

/// The width of a label in cells: even if each character is written as an entity, the whole text
/// stays within those 50,000 characters.
const LABEL: usize = 36;

/// Writes the plan as a flowchart from left to right, with a class for each sort of box.
pub(super) fn write(plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
    let picture = Picture::of(plan, &LIMITS);
    writeln!(f, "flowchart LR")?;
    for (number, tile) in picture.boxes.iter().enumerate() {
        let critical = if tile.critical { "_critical" } else { "" };
        writeln!(f, "  n{number}[\"{}\"]:::{}{critical}", Escaped(&tile.label), tile.class())?;
    }
    for arrow in &picture.arrows {
        let line = match arrow.style {
            Style::Critical => "==>",
            Style::Waits => "-->",
            Style::Broken => "-.->",
        };
        writeln!(f, "  n{} {line} n{}", arrow.from, arrow.to)?;
    }
    if picture.arrows_hidden > 0 {
        writeln!(f, "  more[\"{} more dependencies are not drawn\"]:::rest", picture.arrows_hidden)?;
    }
    write_out(&picture, f)?;
    for (class, colors) in [
        ("changed", "fill:#fde68a,stroke:#b45309"),
        ("direct", "fill:#fecaca,stroke:#b91c1c"),
        ("dependency", "fill:#dbeafe,stroke:#1d4ed8"),
        ("rest", "fill:#f3f4f6,stroke:#6b7280"),
        ("out", "fill:#ffffff,stroke:#6b7280,stroke-dasharray:4"),
    ] {
        writeln!(f, "  classDef {class} {colors},color:#111827")?;
    }
    for (class, colors) in [("direct", "fill:#fecaca,stroke:#b91c1c"), ("dependency", "fill:#dbeafe,stroke:#1d4ed8")] {
        writeln!(f, "  classDef {class}_critical {colors},color:#111827,stroke-width:4px")?;
    }
    Ok(())
}

/// Writes the exclusions as a subgraph of their own.
fn write_out(picture: &Picture<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    if picture.out.is_empty() {
        return Ok(());
    }
    writeln!(f, "  subgraph out[\"not rebuilt\"]")?;
    for (number, out) in picture.out.iter().enumerate() {
        let code = short(&out.reason.code, LABEL);
        writeln!(f, "    x{number}[\"{} ({})\"]:::out", Escaped(&out.label), Escaped(&code))?;
        if let Some(follows) = out.follows {
            writeln!(f, "    x{follows} -.-> x{number}")?;
        }
    }
    if picture.out_hidden > 0 {
        writeln!(f, "    x{}[\"… {} more\"]:::out", picture.out.len(), picture.out_hidden)?;
    }
    writeln!(f, "  end")
}

/// A text within quotes; everything that Mermaid might read as something else is written as an
/// entity.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // An empty label is a mistake there.
        if self.0.trim().is_empty() {
            return f.write_str("#nbsp;");
        }
        self.0.chars().try_for_each(|c| match super::harmless(c) {
            c @ ('"' | '#' | '&' | '<' | '>' | ';' | '%' | '\\' | '`') => write!(f, "#{};", u32::from(c)),
            c => write!(f, "{c}"),
        })
    }
}
