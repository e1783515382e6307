//! A plan as one SVG file with its own colours, for a browser or an attachment.
//!
//! For a picture within a page, which takes its colours from the page, see `embedded`. Both have
//! their positions from `layout`. All texts are escaped, and nothing is loaded from elsewhere.

use super::layout::{BOX_HEIGHT, Layout};
use super::names::{cells, short};
use super::picture::{Arrow, Limits, Picture, Style, Tile, count};
use super::{Line, Takes};
use crate::plan::Plan;
use std::fmt::{self, Formatter};

/// What is still readable on a large screen.
const LIMITS: Limits = Limits { boxes: 400, waves: 60, arrows: 2000, out: 40, label: LABEL };

/// Cells of a label.
const LABEL: usize = 34;

/// Width of a cell: every font that is called monospace has about this, at 12 pixels.
const CELL: f64 = 7.3;

pub(super) const MARGIN: f64 = 16.0;
pub(super) const PADDING: f64 = 8.0;
/// Room for the arrows between two columns.
const GULLY: f64 = 90.0;
/// Above the boxes: title, legend and what the columns are.
const HEAD: f64 = 94.0;
const ROW: f64 = BOX_HEIGHT + 6.0;

const STYLE: &str = "text{font:12px ui-monospace,monospace;fill:#111827}.title{font-weight:bold}.head{fill:#6b7280}\
    rect{stroke-width:1}.changed{fill:#fde68a;stroke:#b45309}.direct{fill:#fecaca;stroke:#b91c1c}.dependency{fill:#dbeafe;stroke:#1d4ed8}\
    .rest{fill:#f3f4f6;stroke:#6b7280}.out{fill:none;stroke:#6b7280;stroke-dasharray:4 3}.critical{stroke-width:3}\
    path{fill:none;stroke:#9ca3af}path.critical{stroke:#111827}path.broken{stroke-dasharray:4 3}marker path{fill:#6b7280;stroke:none}";

/// Writes the plan as a picture with columns for waves, arrows as curves, and a legend.
pub(super) fn write(plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
    let picture = Picture::of(plan, &LIMITS);
    let layers: Vec<_> = picture.boxes.iter().map(|tile| tile.layer).collect();
    let arrows = picture.arrows.iter().filter(|arrow| arrow.style != Style::Broken);
    let arrows: Vec<_> = arrows.map(|arrow| (arrow.from, arrow.to)).collect();
    let widths = picture.layers.iter().map(|layer| {
        let labels = picture.boxes[layer.boxes.clone()].iter().map(|tile| cells(&tile.label));
        labels.chain([cells(&layer.title)]).max().unwrap_or(0)
    });
    let columns = columns(widths);
    let drawing = Drawing { layout: Layout::of(&layers, &arrows), columns, picture };
    drawing.write(plan, f)
}

/// Returns the title: how many builds in how many waves, the critical path, and how many
/// exclusions.
fn summary(plan: &Plan) -> String {
    let out = match plan.exclusions().count() {
        0 => String::new(),
        out => format!("; {out} not rebuilt"),
    };
    if plan.is_empty() {
        return format!("nothing to build{out}");
    }
    let (builds, waves) = (count(plan.len(), "build"), count(plan.waves().count(), "wave"));
    let critical = plan.critical_builds();
    format!("{builds} in {waves}, critical path about {}{out}", Takes(&critical, plan.critical_path()))
}

pub(super) struct Column {
    pub(super) left: f64,
    pub(super) width: f64,
}

impl Column {
    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }
}

/// Returns a column for each layer, as wide as its widest label, which is given in cells.
pub(super) fn columns(widths: impl Iterator<Item = usize>) -> Vec<Column> {
    let mut left = MARGIN;
    let mut columns = Vec::new();
    for cells in widths {
        let width = wide(cells);
        columns.push(Column { left, width });
        left += width + GULLY;
    }
    columns
}

/// Draws an arrow between two boxes, each given by its number and its column, over the lanes of the
/// columns between. The boxes begin at `top`.
pub(super) fn route(
    f: &mut Formatter<'_>,
    columns: &[Column],
    layout: &Layout,
    top: f64,
    (from, from_column): (usize, usize),
    (to, to_column): (usize, usize),
) -> fmt::Result {
    let mut x = columns[from_column].right();
    let mut y = top + layout.boxes[from];
    write!(f, "M{} {}", pixels(x), Tenths(y))?;
    for column in from_column + 1..to_column {
        let (Some(next), Some(lane)) = (columns.get(column), layout.lanes.get(&(from, column))) else { continue };
        let lane = top + lane;
        curve(f, (x, y), (next.left, lane))?;
        write!(f, "H{}", pixels(next.right()))?;
        (x, y) = (next.right(), lane);
    }
    curve(f, (x, y), (columns[to_column].left, top + layout.boxes[to]))
}

/// Returns the width of a box with so many cells in it.
pub(super) fn wide(cells: usize) -> f64 {
    cells as f64 * CELL + 2.0 * PADDING
}

struct Drawing<'a> {
    picture: Picture<'a>,
    layout: Layout,
    columns: Vec<Column>,
}

impl Drawing<'_> {
    fn write(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        let summary = summary(plan);
        let notes = self.notes();
        let widest_note = notes.iter().map(|note| wide(cells(note.text()))).fold(0.0, f64::max);
        let boxes = self.columns.last().map_or(0.0, Column::right);
        // Of the fixed lines at the top the legend is the widest.
        let width = boxes.max(widest_note + MARGIN).max(640.0) + MARGIN;
        let below = HEAD + self.layout.height + MARGIN;
        let height = below + notes.len() as f64 * ROW + MARGIN;
        write!(f, r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" "#)?;
        writeln!(f, r#"viewBox="0 0 {width:.0} {height:.0}" role="img">"#)?;
        writeln!(f, "<title>{summary}</title>")?;
        writeln!(f, "<style>{STYLE}</style>")?;
        writeln!(
            f,
            r#"<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>"#
        )?;
        writeln!(f, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##)?;
        text(f, "title", MARGIN, 26.0, &summary)?;
        legend(f)?;
        for (layer, column) in self.picture.layers.iter().zip(&self.columns) {
            text(f, "head", column.left, HEAD - 12.0, &layer.title)?;
        }
        // Boxes hide the ends of arrows, and what matters most is drawn last.
        for arrow in self.picture.arrows.iter().filter(|arrow| arrow.style != Style::Critical) {
            self.arrow(f, arrow)?;
        }
        for arrow in self.picture.arrows.iter().filter(|arrow| arrow.style == Style::Critical) {
            self.arrow(f, arrow)?;
        }
        for (tile, middle) in self.picture.boxes.iter().zip(&self.layout.boxes) {
            self.tile(f, tile, HEAD + middle)?;
        }
        for (number, note) in notes.iter().enumerate() {
            note.write(f, below + number as f64 * ROW + BOX_HEIGHT / 2.0)?;
        }
        writeln!(f, "</svg>")
    }

    fn tile(&self, f: &mut Formatter<'_>, tile: &Tile<'_>, middle: f64) -> fmt::Result {
        let column = &self.columns[tile.layer];
        let critical = if tile.critical { " critical" } else { "" };
        let class = format!("{}{critical}", tile.class());
        framed(f, &class, column.left, middle, column.width, &tile.label, &tile.tooltip())
    }

    fn arrow(&self, f: &mut Formatter<'_>, arrow: &Arrow) -> fmt::Result {
        let class = match arrow.style {
            Style::Critical => "critical",
            Style::Waits => "waits",
            Style::Broken => "broken",
        };
        let end = |number: usize| (number, self.picture.boxes[number].layer);
        write!(f, r#"<path class="{class}" marker-end="url(#head)" d=""#)?;
        route(f, &self.columns, &self.layout, HEAD, end(arrow.from), end(arrow.to))?;
        writeln!(f, r#""/>"#)
    }

    /// Returns what stands below the boxes: what is not drawn, and what is not rebuilt.
    fn notes(&self) -> Vec<Note> {
        let picture = &self.picture;
        let mut notes = Vec::new();
        if picture.arrows_hidden > 0 {
            notes.push(Note::Text(format!("{} more dependencies are not drawn", picture.arrows_hidden)));
        }
        if !picture.out.is_empty() {
            notes.push(Note::Text("not rebuilt".to_owned()));
        }
        notes.extend(picture.out.iter().map(|out| Note::Out {
            text: format!("{} — {}", out.label, short(&out.reason.code, LABEL)),
            tooltip: [Line(out.id.as_str()).to_string(), Line(&out.reason.text).to_string()],
        }));
        if picture.out_hidden > 0 {
            notes.push(Note::Text(format!("… {} more", picture.out_hidden)));
        }
        notes
    }
}

enum Note {
    Text(String),
    Out { text: String, tooltip: [String; 2] },
}

impl Note {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Out { text, .. } => text,
        }
    }

    fn write(&self, f: &mut Formatter<'_>, middle: f64) -> fmt::Result {
        match self {
            Self::Text(line) => text(f, "head", MARGIN, middle + 4.0, line),
            Self::Out { text, tooltip } => framed(f, "out", MARGIN, middle, wide(cells(text)), text, tooltip),
        }
    }
}

/// A box with a text and a tooltip.
fn framed(
    f: &mut Formatter<'_>,
    class: &str,
    left: f64,
    middle: f64,
    width: f64,
    label: &str,
    tooltip: &[String],
) -> fmt::Result {
    let top = middle - BOX_HEIGHT / 2.0;
    writeln!(f, "<g><title>{}</title>", Escaped(&tooltip.join("\n")))?;
    write!(f, r#"<rect class="{class}" x="{}" y="{}" width="{}" "#, pixels(left), Tenths(top), pixels(width))?;
    writeln!(f, r#"height="{BOX_HEIGHT}" rx="4"/>"#)?;
    text(f, "label", left + PADDING, middle + 4.0, label)?;
    writeln!(f, "</g>")
}

fn text(f: &mut Formatter<'_>, class: &str, x: f64, y: f64, text: &str) -> fmt::Result {
    writeln!(f, r#"<text class="{class}" x="{}" y="{}">{}</text>"#, pixels(x), Tenths(y), Escaped(text))
}

/// Draws a curve from one column to the next, level at both ends. A curve that leads back swings
/// out at both.
fn curve(f: &mut Formatter<'_>, (x, y): (f64, f64), (to_x, to_y): (f64, f64)) -> fmt::Result {
    let reach = if to_x > x { (to_x - x) / 2.0 } else { GULLY / 2.0 };
    let (y, to_y) = (Tenths(y), Tenths(to_y));
    write!(f, "C{} {y} {} {to_y} {} {to_y}", pixels(x + reach), pixels(to_x - reach), pixels(to_x))
}

fn legend(f: &mut Formatter<'_>) -> fmt::Result {
    let mut left = MARGIN;
    let entries = [
        ("changed", "changed"),
        ("direct", "directly affected"),
        ("dependency", "dependency"),
        ("dependency critical", "on the critical path"),
    ];
    for (class, label) in entries {
        let width = wide(cells(label));
        framed(f, class, left, 48.0, width, label, &[label.to_owned()])?;
        left += width + PADDING;
    }
    Ok(())
}

/// A text between tags, or between the double quotes of an attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"']) {
            let (plain, special) = rest.split_at(at);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes()[0] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                _ => "&quot;",
            })?;
            rest = &special[1..];
        }
        f.write_str(rest)
    }
}

/// A coordinate in whole pixels. As an integer, because the exact decimals of a float take ten
/// times as long to find.
pub(super) fn pixels(length: f64) -> i64 {
    length.round_ties_even() as i64
}

/// A coordinate in tenths of pixels.
struct Tenths(f64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tenths = pixels(self.0 * 10.0);
        let sign = if tenths < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10)
    }
}
