//! Cuts an image into regions of one colour each.
//!
//! A pixel at a shape's edge is a mixture of the shape's fill and the background, so a pixel is described by the fill on
//! whose line to the background it lies nearest, and by how far along that line it is: its coverage. That keeps the colour
//! of an anti-aliased or blurred edge that of its shape.

use crate::shapes::{BACKGROUND, Color};
use image::RgbImage;

/// Pixels nearer to the background than this are background (8-bit units, Euclidean).
const BACKGROUND_DISTANCE: f32 = 30.0;
/// Coverage from which a pixel belongs to a region.
const INSIDE: f32 = 0.45;
/// Regions with fewer pixels are noise (of a 64 × 64 image; the smallest shape has 44).
const MIN_PIXELS: f32 = 20.0;
/// Within touching regions, colours with a smaller share of the pixels are stains.
const MIN_SHARE: f32 = 0.15;
/// No single shape is wider (pixels of a 64 × 64 image; the largest is 20 wide): what is, is several.
const MAX_EXTENT: f32 = 25.0;

/// Coverage and nearest fill of every pixel.
pub(super) struct CoverageMap {
    pub(super) width: usize,
    pub(super) height: usize,
    /// 0 ..= 1; row by row.
    pub(super) coverage: Vec<f32>,
    /// Position in [`Color::ALL`].
    color: Vec<u8>,
}

/// Connected pixels of one shape.
pub(super) struct Region {
    /// Places in the map.
    pub(super) pixels: Vec<usize>,
    pub(super) color: Color,
}

impl CoverageMap {
    pub(super) fn of(image: &RgbImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let background = BACKGROUND.map(f32::from);
        let fills: Vec<([f32; 3], f32)> = Color::ALL
            .iter()
            .map(|color| {
                let fill = color.rgb().map(f32::from);
                let line = [0, 1, 2].map(|i| fill[i] - background[i]);
                (line, 1.0 / dot(line, line))
            })
            .collect();
        let mut map = Self { width, height, coverage: vec![0.0; width * height], color: vec![0; width * height] };
        for (place, pixel) in image.pixels().enumerate() {
            let offset = [0, 1, 2].map(|i| f32::from(pixel.0[i]) - background[i]);
            let distance = dot(offset, offset);
            if distance < BACKGROUND_DISTANCE * BACKGROUND_DISTANCE {
                continue;
            }
            let mut nearest = f32::MAX;
            for (color, (line, inverse)) in fills.iter().enumerate() {
                let along = dot(offset, *line) * inverse;
                let coverage = along.clamp(0.0, 1.0);
                // Squared distance from the point of the line at `coverage`.
                let away = distance - 2.0 * coverage * along / inverse + coverage * coverage / inverse;
                if away < nearest {
                    nearest = away;
                    map.coverage[place] = coverage;
                    map.color[place] = color as u8;
                }
            }
        }
        map
    }

    fn neighbours(&self, place: usize) -> impl Iterator<Item = usize> + use<> {
        let (x, y) = (place % self.width, place / self.width);
        let (right, below) = (x + 1 < self.width, y + 1 < self.height);
        let width = self.width;
        [(x > 0, place.wrapping_sub(1)), (right, place + 1), (y > 0, place.wrapping_sub(width)), (below, place + width)]
            .into_iter()
            .filter_map(|(exists, place)| exists.then_some(place))
    }

    /// Connected sets of the pixels of `among`; `same` says which neighbours hang together.
    fn components(&self, among: &[usize], same: impl Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
        let mut left = vec![false; self.coverage.len()];
        among.iter().for_each(|&place| left[place] = true);
        let mut components = Vec::new();
        for &start in among {
            if !std::mem::take(&mut left[start]) {
                continue;
            }
            let mut component = vec![start];
            let mut next = 0;
            while let Some(&place) = component.get(next) {
                next += 1;
                for neighbour in self.neighbours(place) {
                    if left[neighbour] && same(place, neighbour) {
                        left[neighbour] = false;
                        component.push(neighbour);
                    }
                }
            }
            components.push(component);
        }
        components
    }

    fn centroid(&self, pixels: &[usize]) -> [f32; 2] {
        let sum = pixels
            .iter()
            .fold([0.0, 0.0], |[x, y], place| [x + (place % self.width) as f32, y + (place / self.width) as f32]);
        sum.map(|sum| sum / pixels.len().max(1) as f32)
    }

    fn distance(&self, place: usize, [x, y]: [f32; 2]) -> f32 {
        ((place % self.width) as f32 - x).powi(2) + ((place / self.width) as f32 - y).powi(2)
    }
}

/// The regions of an image; `scale` is 64 over its width.
pub(super) fn regions(map: &CoverageMap, scale: f32) -> Vec<Region> {
    let inside: Vec<usize> = (0..map.coverage.len()).filter(|&place| map.coverage[place] >= INSIDE).collect();
    let mut regions = Vec::new();
    for touching in map.components(&inside, |_, _| true) {
        for one_color in by_color(map, &touching, scale) {
            by_extent(map, one_color, scale, &mut |pixels| {
                if pixels.len() as f32 * scale * scale >= MIN_PIXELS {
                    let color = majority(map, &pixels);
                    regions.push(Region { pixels, color });
                }
            });
        }
    }
    regions
}

/// Splits touching pixels into their large parts of one colour; stains go to the part they are nearest to.
fn by_color(map: &CoverageMap, touching: &[usize], scale: f32) -> Vec<Vec<usize>> {
    let parts = map.components(touching, |a, b| map.color[a] == map.color[b]);
    let large = |part: &Vec<usize>| {
        part.len() as f32 * scale * scale >= MIN_PIXELS && part.len() as f32 >= MIN_SHARE * touching.len() as f32
    };
    let (mut large, stains): (Vec<_>, Vec<_>) = parts.into_iter().partition(large);
    if large.len() < 2 {
        return vec![touching.to_vec()];
    }
    let centroids: Vec<[f32; 2]> = large.iter().map(|part| map.centroid(part)).collect();
    for stain in stains {
        let centre = map.centroid(&stain);
        let away = |to: &[f32; 2]| (to[0] - centre[0]).powi(2) + (to[1] - centre[1]).powi(2);
        let nearest = (0..large.len()).min_by(|&a, &b| away(&centroids[a]).total_cmp(&away(&centroids[b])));
        if let Some(nearest) = nearest {
            large[nearest].extend(stain);
        }
    }
    large
}

/// Splits a region that is too wide for one shape in two, again and again: each pixel to the nearer of two centres.
fn by_extent(map: &CoverageMap, pixels: Vec<usize>, scale: f32, found: &mut impl FnMut(Vec<usize>)) {
    let extent = |values: fn(usize, usize) -> usize| {
        let all = pixels.iter().map(|&place| values(place, map.width));
        all.clone().max().zip(all.min()).map_or(0, |(high, low)| high - low + 1)
    };
    let (wide, high) = (extent(|place, width| place % width), extent(|place, width| place / width));
    if wide.max(high) as f32 * scale <= MAX_EXTENT || pixels.len() < 2 {
        return found(pixels);
    }
    let key = |place: &&usize| if wide >= high { **place % map.width } else { **place / map.width };
    let ends = pixels.iter().min_by_key(key).zip(pixels.iter().max_by_key(key));
    let Some((&first, &last)) = ends else { return };
    let mut centres = [map.centroid(&[first]), map.centroid(&[last])];
    let mut halves = [Vec::new(), Vec::new()];
    for _ in 0..8 {
        halves = [Vec::new(), Vec::new()];
        for &place in &pixels {
            halves[usize::from(map.distance(place, centres[1]) < map.distance(place, centres[0]))].push(place);
        }
        centres = [map.centroid(&halves[0]), map.centroid(&halves[1])];
    }
    // Both ends keep at least themselves, so each half is smaller than the whole.
    for half in halves {
        by_extent(map, half, scale, found);
    }
}

/// The fill that most of the pixels have, by coverage.
fn majority(map: &CoverageMap, pixels: &[usize]) -> Color {
    let mut votes = [0.0; Color::ALL.len()];
    for &place in pixels {
        votes[map.color[place] as usize] += map.coverage[place];
    }
    let best = (0..votes.len()).max_by(|&a, &b| votes[a].total_cmp(&votes[b])).unwrap_or_default();
    Color::ALL[best]
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
