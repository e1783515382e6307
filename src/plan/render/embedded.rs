//! Writes a [`Diagram`] as SVG for a page: classes instead of colours, links, words for marks.
//!
//! Columns are the longest paths from the left: a box stands right of everything that leads to it.
//! Boxes that lead to each other in a cycle stand in the first column.
//!
//! Cost: that of the layout for what is drawn, and O((n + m) log n) for the whole diagram of n
//! boxes and m arrows.

use super::diagram::{Diagram, DiagramBox, Mark};
use super::layout::{BOX_HEIGHT, Layout};
use super::names::{cells, labels, short};
use super::picture::count;
use super::svg::{Column, Escaped, MARGIN, PADDING, columns, pixels, route};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Formatter};

/// Cells of a name.
const LABEL: usize = 34;
/// Cells between a name and its mark.
const GAP: usize = 2;
/// Lines and characters of what is said of a box, and characters of an address.
const DETAILS_MAX: usize = 8;
const DETAIL_MAX: usize = 200;
const HREF_MAX: usize = 2_000;
/// Above the boxes: what the columns are.
const HEAD: f64 = 36.0;

/// What is drawn: boxes of the diagram, or whole columns of it.
struct Drawn<'a> {
    tiles: Vec<Tile<'a>>,
    /// Pairs of tiles, and whether the arrow is on the critical path.
    arrows: BTreeMap<(usize, usize), bool>,
    /// The columns, by their titles.
    titles: Vec<String>,
    arrows_hidden: usize,
}

struct Tile<'a> {
    column: usize,
    label: String,
    what: What<'a>,
}

enum What<'a> {
    Box(&'a DiagramBox),
    Wave { marks: BTreeMap<Option<Mark>, usize>, critical: bool, href: Option<&'a str> },
}

pub(super) fn write(diagram: &Diagram, f: &mut Formatter<'_>) -> fmt::Result {
    let waves = diagram.waves();
    let mut drawn = if diagram.boxes.len() <= Diagram::BOXES_MAX && waves.iter().all(|wave| *wave < Diagram::WAVES_MAX)
    {
        whole(diagram, &waves)
    } else {
        summed(diagram, &waves)
    };
    drawn.cut_arrows();
    let layers: Vec<_> = drawn.tiles.iter().map(|tile| tile.column).collect();
    let pairs: Vec<_> = drawn.arrows.keys().copied().collect();
    let layout = Layout::of(&layers, &pairs);
    let widths = drawn.titles.iter().enumerate().map(|(column, title)| {
        let labels = drawn.tiles.iter().filter(|tile| tile.column == column).map(Tile::cells);
        labels.chain([cells(title)]).max().unwrap_or(0)
    });
    let columns = columns(widths);
    drawn.write(diagram, &layout, &columns, f)
}

fn whole<'a>(diagram: &'a Diagram, waves: &[usize]) -> Drawn<'a> {
    let mut order: Vec<_> = (0..diagram.boxes.len()).collect();
    order.sort_by_key(|number| (waves[*number], &diagram.boxes[*number].name, *number));
    let names: Vec<_> = order.iter().map(|number| diagram.boxes[*number].name.as_str()).collect();
    let tiles = order.iter().zip(labels(&names, LABEL)).map(|(number, label)| Tile {
        column: waves[*number],
        label,
        what: What::Box(&diagram.boxes[*number]),
    });
    let tiles: Vec<_> = tiles.collect();
    let places: BTreeMap<_, _> = order.iter().zip(0..).map(|(number, place)| (*number as u32, place)).collect();
    let critical = |end: u32| diagram.boxes[end as usize].critical;
    let arrows = diagram.arrows.iter();
    let arrows = arrows.map(|(from, to)| ((places[from], places[to]), critical(*from) && critical(*to))).collect();
    let columns = waves.iter().max().map_or(0, |last| last + 1);
    let mut titles = vec![0; columns];
    waves.iter().for_each(|wave| titles[*wave] += 1);
    let titles = titles.into_iter().map(boxes).collect();
    Drawn { tiles, arrows, titles, arrows_hidden: 0 }
}

/// Makes one tile of each column; the last one stands for all that are too many.
fn summed<'a>(diagram: &'a Diagram, waves: &[usize]) -> Drawn<'a> {
    let column = |number: usize| waves[number].min(Diagram::WAVES_MAX);
    let mut tiles: Vec<Tile<'a>> = Vec::new();
    let columns = (0..diagram.boxes.len()).map(column).max().map_or(0, |last| last + 1);
    for number in 0..columns {
        let href = diagram.wave_links.iter().find(|(wave, _)| *wave == number).map(|(_, href)| href.as_str());
        let label = diagram.name_of(number, waves);
        tiles.push(Tile { column: number, label, what: What::Wave { marks: BTreeMap::new(), critical: false, href } });
    }
    let mut totals = vec![0; columns];
    for (number, one) in diagram.boxes.iter().enumerate() {
        totals[column(number)] += 1;
        if let What::Wave { marks, critical, .. } = &mut tiles[column(number)].what {
            *marks.entry(one.mark).or_insert(0) += 1;
            *critical |= one.critical;
        }
    }
    let ends = |(from, to): &(u32, u32)| (column(*from as usize), column(*to as usize));
    let arrows: BTreeSet<_> = diagram.arrows.iter().map(ends).filter(|(from, to)| from != to).collect();
    // Above one box there is how many it stands for.
    let titles = totals.into_iter().map(|total| format!("{total} in it")).collect();
    Drawn { tiles, arrows: arrows.into_iter().map(|pair| (pair, false)).collect(), titles, arrows_hidden: 0 }
}

fn boxes(number: usize) -> String {
    if number == 1 { "1 box".to_owned() } else { format!("{number} boxes") }
}

impl Tile<'_> {
    fn mark(&self) -> Cow<'static, str> {
        match &self.what {
            What::Box(one) => one.mark.map_or("", Mark::as_str).into(),
            What::Wave { marks, .. } => {
                let texts = marks.iter().map(|(mark, boxes)| match mark {
                    Some(mark) => format!("{boxes} {}", mark.as_str()),
                    None => format!("{boxes} planned"),
                });
                texts.collect::<Vec<_>>().join(", ").into()
            }
        }
    }

    /// Returns how much room the texts take.
    fn cells(&self) -> usize {
        match cells(&self.mark()) {
            0 => cells(&self.label),
            mark => cells(&self.label) + GAP + mark,
        }
    }

    fn critical(&self) -> bool {
        match self.what {
            What::Box(one) => one.critical,
            What::Wave { critical, .. } => critical,
        }
    }

    /// Returns the classes: the mark, or the worst one of a wave.
    fn class(&self) -> String {
        let mark = match &self.what {
            What::Box(one) => one.mark,
            What::Wave { marks, .. } => marks.keys().flatten().next().copied(),
        };
        let words = [mark.map_or("planned", Mark::as_str), if self.critical() { "critical" } else { "" }];
        words.join(" ").trim_end().to_owned()
    }

    fn href(&self) -> Option<&str> {
        let href = match &self.what {
            What::Box(one) => one.href.as_deref(),
            What::Wave { href, .. } => *href,
        };
        // No address runs a script.
        let starts = ["/", "?", "#", "./", "../", "http://", "https://"];
        href.filter(|href| href.len() <= HREF_MAX && starts.iter().any(|start| href.starts_with(start)))
    }

    /// Returns what is read aloud, and shown to those who point at the tile.
    fn tooltip(&self) -> String {
        let mut lines = Vec::new();
        match &self.what {
            What::Box(one) => {
                lines.push(short(&one.name, DETAIL_MAX));
                lines.extend(one.mark.map(|mark| mark.as_str().to_owned()));
                lines.extend(one.details.iter().take(DETAILS_MAX).map(|line| short(line, DETAIL_MAX)));
            }
            What::Wave { .. } => lines.extend([self.label.clone(), self.mark().into_owned()]),
        }
        if self.critical() {
            lines.push("on the critical path".to_owned());
        }
        lines.join("\n")
    }
}

impl Drawn<'_> {
    /// Leaves out arrows that are too many, those of the critical path last.
    fn cut_arrows(&mut self) {
        self.arrows_hidden = self.arrows.len().saturating_sub(Diagram::ARROWS_MAX);
        if self.arrows_hidden > 0 {
            let mut all: Vec<_> = self.arrows.iter().map(|(pair, critical)| (!*critical, *pair)).collect();
            all.sort_unstable();
            all.truncate(Diagram::ARROWS_MAX);
            self.arrows = all.into_iter().map(|(plain, pair)| (pair, !plain)).collect();
        }
    }

    fn write(&self, diagram: &Diagram, layout: &Layout, columns: &[Column], f: &mut Formatter<'_>) -> fmt::Result {
        let width = columns.last().map_or(0.0, Column::right) + MARGIN;
        let height = HEAD + layout.height + MARGIN;
        // A picture with links in it is a group: what an image contains cannot be reached.
        let role = if self.tiles.iter().any(|tile| tile.href().is_some()) { "group" } else { "img" };
        let id = &diagram.id_prefix;
        write!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="fm-diagram" width="{width:.0}" height="{height:.0}" "#
        )?;
        write!(f, r#"viewBox="0 0 {width:.0} {height:.0}" role="{role}" aria-labelledby="{id}title" "#)?;
        writeln!(
            f,
            r#"aria-describedby="{id}desc"><title id="{id}title">{}</title>"#,
            Escaped(&short(&diagram.title, DETAIL_MAX))
        )?;
        writeln!(f, r#"<desc id="{id}desc">{}</desc>"#, self.summary(diagram))?;
        write!(
            f,
            r#"<defs><marker id="{id}head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" "#
        )?;
        writeln!(f, r#"markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>"#)?;
        for (title, column) in self.titles.iter().zip(columns) {
            writeln!(f, r#"<text class="head" x="{:.0}" y="20">{title}</text>"#, column.left)?;
        }
        writeln!(f, r#"<g marker-end="url(#{id}head)">"#)?;
        for wanted in [false, true] {
            for ((from, to), _) in self.arrows.iter().filter(|(_, critical)| **critical == wanted) {
                let class = if wanted { r#" class="critical""# } else { "" };
                write!(f, r#"<path{class} d=""#)?;
                let end = |tile: usize| (tile, self.tiles[tile].column);
                route(f, columns, layout, HEAD, end(*from), end(*to))?;
                writeln!(f, r#""/>"#)?;
            }
        }
        writeln!(f, "</g>")?;
        for (tile, middle) in self.tiles.iter().zip(&layout.boxes) {
            tile.write(id, &columns[tile.column], HEAD + middle, f)?;
        }
        writeln!(f, "</svg>")
    }

    /// Returns what is read aloud about the whole picture.
    fn summary(&self, diagram: &Diagram) -> String {
        let mut marks: BTreeMap<Mark, usize> = BTreeMap::new();
        diagram.boxes.iter().filter_map(|one| one.mark).for_each(|mark| *marks.entry(mark).or_insert(0) += 1);
        let marks: String = marks.iter().map(|(mark, boxes)| format!(", {boxes} {}", mark.as_str())).collect();
        let total = boxes(diagram.boxes.len());
        let hidden = match self.arrows_hidden {
            0 => String::new(),
            hidden => format!("; {hidden} more arrows are not drawn"),
        };
        format!("{total} in {}{marks}{hidden}", count(self.titles.len(), "column"))
    }
}

impl Tile<'_> {
    fn write(&self, prefix: &str, column: &Column, middle: f64, f: &mut Formatter<'_>) -> fmt::Result {
        let name = if self.href().is_some() { "a" } else { "g" };
        write!(f, "<{name}")?;
        if let What::Box(one) = self.what {
            // What could not be named in a style sheet or an address gets no id.
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if one.key.len() <= 100 && one.key.chars().all(plain) {
                write!(f, r#" id="{prefix}{}""#, one.key)?;
            }
        }
        write!(f, r#" class="{}""#, self.class())?;
        if let Some(href) = self.href() {
            write!(f, r#" href="{}""#, Escaped(href))?;
        }
        write!(f, "><title>{}</title>", Escaped(&self.tooltip()))?;
        let (left, top, width) = (pixels(column.left), pixels(middle - BOX_HEIGHT / 2.0), pixels(column.width));
        write!(f, r#"<rect x="{left}" y="{top}" width="{width}" height="{BOX_HEIGHT}" rx="4"/>"#)?;
        let (x, baseline) = (pixels(column.left + PADDING), pixels(middle + 4.0));
        write!(f, r#"<text x="{x}" y="{baseline}">{}</text>"#, Escaped(&self.label))?;
        let mark = self.mark();
        if !mark.is_empty() {
            let x = pixels(column.right() - PADDING);
            write!(f, r#"<text class="mark" x="{x}" y="{baseline}">{mark}</text>"#)?;
        }
        writeln!(f, "</{name}>")
    }
}
