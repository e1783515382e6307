//! Positions of the boxes of a picture: layers are columns, the order within a column avoids
//! crossings, and boxes that are connected are level where possible.
//!
//! The layered drawing of Sugiyama, Tagawa and Toda (1981), without its first two steps: a plan is
//! acyclic once its broken dependencies are left out, and its waves are the layers.
//!
//! 1. *Lanes.* An arrow over several layers gets a lane in each layer between, so that it does not
//!    cross boxes. All such arrows from one box share the lanes.
//! 2. *Order.* Each column is sorted by the barycenter of its neighbours, from the left and from
//!    the right in turn; the order with the fewest crossings is kept.
//! 3. *Coordinates.* Each box is moved to the mean of its neighbours, as near as the other boxes of
//!    its column allow.
//!
//! Cost: O(rounds · (n log n + c)) for n boxes and lanes, where c is the cost of counting
//! crossings, O(m · longest row of ends).
//!
//! A worked example of the order, with the boxes a, b on the left, c, d on the right, and the
//! arrows a-d, b-c:
//!
//! 1. As given, the arrows cross once.
//! 2. From the left: the barycenter of c is the position of b, 0.75; that of d is that of a, 0.25.
//! 3. Sorted by barycenter, the right column is d, c. The arrows do not cross; this order is kept.

use std::collections::BTreeMap;

/// Rounds of sorting, and of levelling. More rounds change nothing that can be seen.
const ROUNDS: usize = 8;

pub(super) const BOX_HEIGHT: f64 = 24.0;
const BOX_GAP: f64 = 8.0;
const LANE_HEIGHT: f64 = 6.0;

/// What takes room in a column: a box, or the lane of arrows that come from a box.
#[derive(Clone, Copy)]
enum Item {
    Box,
    Lane,
}

/// Items of all columns with what is left and right of each; items of one column are in `columns`,
/// from top to bottom.
struct Net {
    items: Vec<Item>,
    columns: Vec<Vec<usize>>,
    left: Vec<Vec<usize>>,
    right: Vec<Vec<usize>>,
}

/// The middles of boxes and lanes, measured from the top of the picture.
pub(super) struct Layout {
    /// Of each box.
    pub(super) boxes: Vec<f64>,
    /// Of each lane, by the box it comes from and the layer.
    pub(super) lanes: BTreeMap<(usize, usize), f64>,
    pub(super) height: f64,
}

impl Layout {
    /// Places boxes by the layer of each, which begin with 0 and do not fall, and the arrows
    /// between them. Arrows that do not lead to a later layer do not count.
    pub(super) fn of(layers: &[usize], arrows: &[(usize, usize)]) -> Self {
        let (mut net, lanes) = net(layers, arrows);
        net.sort();
        let middles = net.level();
        Self {
            boxes: middles[..layers.len()].to_vec(),
            lanes: lanes.into_iter().map(|(place, item)| (place, middles[item])).collect(),
            height: middles.iter().fold(0.0, |height: f64, middle| height.max(*middle)) + BOX_HEIGHT / 2.0,
        }
    }
}

/// The first items are the boxes, under their own numbers.
fn net(layers: &[usize], arrows: &[(usize, usize)]) -> (Net, BTreeMap<(usize, usize), usize>) {
    let boxes = layers.len();
    let mut net = Net {
        items: vec![Item::Box; boxes],
        columns: vec![Vec::new(); layers.last().map_or(0, |last| last + 1)],
        left: vec![Vec::new(); boxes],
        right: vec![Vec::new(); boxes],
    };
    layers.iter().enumerate().for_each(|(number, layer)| net.columns[*layer].push(number));
    let mut lanes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for &(from, to) in arrows.iter().filter(|(from, to)| layers[*from] < layers[*to]) {
        let mut last = from;
        for column in layers[from] + 1..layers[to] {
            last = *lanes.entry((from, column)).or_insert_with(|| net.add_lane(column, last));
        }
        net.connect(last, to);
    }
    (net, lanes)
}

impl Net {
    fn add_lane(&mut self, column: usize, from: usize) -> usize {
        let lane = self.items.len();
        self.items.push(Item::Lane);
        self.columns[column].push(lane);
        self.left.push(Vec::new());
        self.right.push(Vec::new());
        self.connect(from, lane);
        lane
    }

    fn connect(&mut self, from: usize, to: usize) {
        self.right[from].push(to);
        self.left[to].push(from);
    }

    /// Sorts each column by the mean place of its neighbours, from the left and from the right in
    /// turn, and keeps the order with the fewest crossings: the barycenter heuristic.
    fn sort(&mut self) {
        let mut best = (self.crossings(), self.columns.clone());
        for round in 0..ROUNDS {
            let mut places = self.places();
            let columns = self.columns.len();
            for step in 0..columns {
                let (column, beside) =
                    if round % 2 == 0 { (step, &self.left) } else { (columns - 1 - step, &self.right) };
                let key =
                    |item: &usize| mean(beside[*item].iter().map(|other| places[*other])).unwrap_or(places[*item]);
                let mut sorted: Vec<_> = self.columns[column].iter().map(|item| (key(item), *item)).collect();
                sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
                let order: Vec<_> = sorted.into_iter().map(|(_, item)| item).collect();
                set_places(&mut places, &order);
                self.columns[column] = order;
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.columns.clone());
            }
        }
        self.columns = best.1;
    }

    /// The place of each item in its column, from 0 to 1, so that columns of different lengths can
    /// be compared.
    fn places(&self) -> Vec<f64> {
        let mut places = vec![0.0; self.items.len()];
        self.columns.iter().for_each(|column| set_places(&mut places, column));
        places
    }

    /// Counts pairs of arrows between adjacent columns that cross: inversions of the right ends, in
    /// the order of the left ends.
    fn crossings(&self) -> usize {
        let mut position = vec![0; self.items.len()];
        self.columns.iter().for_each(|column| column.iter().zip(0..).for_each(|(item, at)| position[*item] = at));
        let mut crossings = 0;
        for column in &self.columns {
            // Pairs whose ends are turned round, counted by inserting right ends in the order of
            // the left ones.
            let mut ends: Vec<usize> = Vec::new();
            for item in column {
                let mut right: Vec<_> = self.right[*item].iter().map(|other| position[*other]).collect();
                right.sort_unstable();
                crossings +=
                    right.iter().map(|end| ends.len() - ends.partition_point(|seen| seen <= end)).sum::<usize>();
                for end in right {
                    ends.insert(ends.partition_point(|seen| *seen <= end), end);
                }
            }
        }
        crossings
    }

    /// The middle of each item: as near to the mean of what is beside it as the others of its
    /// column let it.
    fn level(&self) -> Vec<f64> {
        let mut middles = vec![0.0; self.items.len()];
        for column in &self.columns {
            let offsets = self.offsets(column);
            column.iter().zip(offsets).for_each(|(item, offset)| middles[*item] = offset);
        }
        for round in 0..ROUNDS {
            let columns = self.columns.len();
            for step in 0..columns {
                let (column, beside) = if round % 2 == 0 {
                    (&self.columns[step], &self.left)
                } else {
                    (&self.columns[columns - 1 - step], &self.right)
                };
                let wish =
                    |item: &usize| mean(beside[*item].iter().map(|other| middles[*other])).unwrap_or(middles[*item]);
                let wishes: Vec<_> = column.iter().map(wish).collect();
                for (item, middle) in column.iter().zip(nearest(&wishes, &self.offsets(column))) {
                    middles[*item] = middle;
                }
            }
        }
        let top = middles.iter().fold(f64::INFINITY, |top, middle| top.min(*middle));
        middles.iter().map(|middle| middle - top + BOX_HEIGHT / 2.0).collect()
    }

    /// The middles in a column without any gap.
    fn offsets(&self, column: &[usize]) -> Vec<f64> {
        let height = |item: &usize| match self.items[*item] {
            Item::Box => BOX_HEIGHT + BOX_GAP,
            Item::Lane => LANE_HEIGHT,
        };
        let mut top = 0.0;
        let mut offsets = Vec::with_capacity(column.len());
        for item in column {
            offsets.push(top + height(item) / 2.0);
            top += height(item);
        }
        offsets
    }
}

fn set_places(places: &mut [f64], order: &[usize]) {
    let length = order.len() as f64;
    order.iter().enumerate().for_each(|(position, item)| places[*item] = (position as f64 + 0.5) / length);
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then_some(sum / count)
}

/// Returns places in the order given, at least as far apart as the offsets, with the smallest sum
/// of squared distances from the wishes.
///
/// Isotonic regression by the pool adjacent violators algorithm (Ayer et al. 1955). Cost: O(n).
///
/// A worked example, with the wishes 5, 3, 9 and no offsets:
///
/// 1. 5 is a block. 3 is less than 5, so both become a block with their mean 4.
/// 2. 9 is more than 4, so it is a block of its own. The places are 4, 4, 9.
fn nearest(wishes: &[f64], offsets: &[f64]) -> Vec<f64> {
    // Without the offsets this is isotonic regression: neighbours in the wrong order share the mean
    // of their wishes.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (wish, offset) in wishes.iter().zip(offsets) {
        let mut block = (wish - offset, 1);
        while let Some((sum, count)) = blocks.pop_if(|(sum, count)| *sum / *count as f64 > block.0 / block.1 as f64) {
            block = (sum + block.0, count + block.1);
        }
        blocks.push(block);
    }
    let shifts = blocks.iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / *count as f64, *count));
    shifts.zip(offsets).map(|(shift, offset)| shift + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_near_to_the_wishes_and_apart() {
        assert_eq!(nearest(&[0.0, 50.0], &[0.0, 10.0]), [0.0, 50.0]);
        assert_eq!(nearest(&[5.0, 5.0], &[0.0, 10.0]), [0.0, 10.0]);
        assert_eq!(nearest(&[30.0, 20.0, 100.0], &[0.0, 10.0, 20.0]), [20.0, 30.0, 100.0]);
    }
}
