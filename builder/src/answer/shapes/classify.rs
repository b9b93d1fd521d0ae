//! What shape a region is, how large, and where its centre lies.
//!
//! Each shape fills a known share of the square around it, so a region's area fixes the radius it would have as that
//! shape, and its centroid the centre. Laid over each other in that pose, region and shape are compared by the ratio of
//! what they share to what they cover together; the best one is the answer.

use super::segment::{CoverageMap, Region};
use crate::shapes::{PlacedObject, Shape, Size, inside_shape};

/// A template's grid covers −EXTENT ..= EXTENT in units of the radius …
const EXTENT: f32 = 1.25;
/// … with this many cells along each axis.
const CELLS: usize = 80;
/// Half the widths of the soft edges that each shape is drawn with, in cells: that of a pixel, and what a decoder's blur
/// makes of it. Blurred, a small star is more like a disc than like a sharp star, but most like a blurred star.
const SOFT: [usize; 3] = [2, 4, 6];
/// Coverage below this is noise.
const NOISE: f32 = 0.12;
/// Pixels around a region that may hold its edge.
const FRINGE: usize = 2;

/// The shapes, drawn once.
#[derive(Debug)]
pub(super) struct Templates {
    templates: Vec<Template>,
}

#[derive(Debug)]
struct Template {
    shape: Shape,
    /// Coverage of each cell.
    cells: Vec<f32>,
    /// Area of the shape of radius 1.
    area: f32,
    /// Centroid of the shape of radius 1, from its centre.
    centroid: [f32; 2],
}

impl Default for Templates {
    fn default() -> Self {
        let templates = Shape::ALL.iter().flat_map(|&shape| SOFT.map(|soft| Template::of(shape, soft)));
        Self { templates: templates.collect() }
    }
}

impl Template {
    fn of(shape: Shape, soft: usize) -> Self {
        let hard: Vec<f32> = (0..CELLS * CELLS)
            .map(|cell| f32::from(u8::from(inside_shape(shape, coordinate(cell % CELLS), coordinate(cell / CELLS)))))
            .collect();
        let cells = soften(&soften(&hard, 1, soft), CELLS, soft);
        let cell_area = (2.0 * EXTENT / CELLS as f32).powi(2);
        let sum = |weight: &dyn Fn(usize) -> f32| (0..cells.len()).map(|cell| cells[cell] * weight(cell)).sum::<f32>();
        let total = sum(&|_| 1.0);
        Self {
            shape,
            area: total * cell_area,
            centroid: [sum(&|cell| coordinate(cell % CELLS)) / total, sum(&|cell| coordinate(cell / CELLS)) / total],
            cells,
        }
    }

    /// Coverage at a point, in units of the radius from the centre.
    fn at(&self, x: f32, y: f32) -> f32 {
        let cell = |value: f32| ((value + EXTENT) * (CELLS as f32 / (2.0 * EXTENT))) as usize;
        if x.abs() >= EXTENT || y.abs() >= EXTENT {
            return 0.0;
        }
        self.cells[cell(y).min(CELLS - 1) * CELLS + cell(x).min(CELLS - 1)]
    }
}

impl Templates {
    pub(super) fn classify(&self, map: &CoverageMap, region: &Region, scale: f32) -> PlacedObject {
        let patch = Patch::of(map, region);
        let mut best = (-1.0, Shape::Circle, 0.0, [0.0; 2]);
        for template in &self.templates {
            let radius = (patch.area / template.area).sqrt();
            let centre = [0, 1].map(|i| patch.centroid[i] - template.centroid[i] * radius);
            let likeness = patch.likeness(template, radius, centre);
            if likeness > best.0 {
                best = (likeness, template.shape, radius, centre);
            }
        }
        let (_, shape, radius, [x, y]) = best;
        // Half-way between the two radii.
        let border = Size::Small.radius().midpoint(Size::Large.radius());
        let size = if radius * scale < border { Size::Small } else { Size::Large };
        PlacedObject { shape, color: region.color, size, x: x * scale, y: y * scale }
    }
}

/// A region with its soft edge, cut out of the map.
struct Patch {
    left: usize,
    top: usize,
    width: usize,
    coverage: Vec<f32>,
    area: f32,
    /// In pixels of the map, from its upper left corner.
    centroid: [f32; 2],
}

impl Patch {
    fn of(map: &CoverageMap, region: &Region) -> Self {
        let (mut left, mut top, mut right, mut bottom) = (map.width, map.height, 0, 0);
        for &place in &region.pixels {
            let (x, y) = (place % map.width, place / map.width);
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
        }
        let (left, top) = (left.saturating_sub(FRINGE), top.saturating_sub(FRINGE));
        let (right, bottom) = ((right + FRINGE).min(map.width - 1), (bottom + FRINGE).min(map.height - 1));
        let (width, height) = (right - left + 1, bottom - top + 1);
        let mut coverage = vec![0.0; width * height];
        // The edge: what lies next to the region's pixels. A pixel that belongs to a neighbour counts half, as its soft edge
        // would; it cannot be told which of the two it is.
        let mut inside = vec![false; width * height];
        for &place in &region.pixels {
            inside[(place / map.width - top) * width + place % map.width - left] = true;
        }
        for y in 0..height {
            for x in 0..width {
                let here = map.coverage[(top + y) * map.width + left + x];
                let near = || {
                    let rows = y.saturating_sub(1)..=(y + 1).min(height - 1);
                    rows.into_iter().any(|y| {
                        inside[y * width + x.saturating_sub(1)..=y * width + (x + 1).min(width - 1)].contains(&true)
                    })
                };
                if inside[y * width + x] || (NOISE..0.5).contains(&here) && near() {
                    coverage[y * width + x] = here;
                }
            }
        }
        let mut sums = [0.0_f32; 3];
        for (i, value) in coverage.iter().enumerate() {
            sums[0] += value;
            sums[1] += value * ((left + i % width) as f32 + 0.5);
            sums[2] += value * ((top + i / width) as f32 + 0.5);
        }
        let area = sums[0].max(1.0);
        Self { left, top, width, coverage, area, centroid: [sums[1] / area, sums[2] / area] }
    }

    /// Intersection over union with a template in this pose, 0 ..= 1.
    fn likeness(&self, template: &Template, radius: f32, centre: [f32; 2]) -> f32 {
        let inverse = 1.0 / radius;
        let (mut shared, mut sum) = (0.0, 0.0);
        for (i, &value) in self.coverage.iter().enumerate() {
            let x = ((self.left + i % self.width) as f32 + 0.5 - centre[0]) * inverse;
            let y = ((self.top + i / self.width) as f32 + 0.5 - centre[1]) * inverse;
            let drawn = template.at(x, y);
            shared += value.min(drawn);
            sum += value;
            // What the template covers outside the patch is missing here; its whole area is known instead.
        }
        let covered = sum + template.area * radius * radius;
        shared / (covered - shared).max(f32::MIN_POSITIVE)
    }
}

/// Centre of a cell, in units of the radius.
fn coordinate(cell: usize) -> f32 {
    (cell as f32 + 0.5) * (2.0 * EXTENT / CELLS as f32) - EXTENT
}

/// The mean over 2 · soft + 1 cells along one axis; `stride` 1 is along x, `CELLS` along y.
fn soften(cells: &[f32], stride: usize, soft: usize) -> Vec<f32> {
    let position = |cell: usize| cell / stride % CELLS;
    (0..cells.len())
        .map(|cell| {
            let low = position(cell).min(soft);
            let high = (CELLS - 1 - position(cell)).min(soft);
            let sum: f32 = (0..=low + high).map(|i| cells[cell - low * stride + i * stride]).sum();
            sum / (2 * soft + 1) as f32
        })
        .collect()
}
