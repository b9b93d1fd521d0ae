//! What is where in a scene, which relations are told of it, and its scene graph in LAION-SG form.

use super::words::{Color, Shape, Size, SpatialRelation};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};

/// Centres of the 3 × 3 cells, in pixels.
const CELL_CENTRES: [f32; 3] = [11.5, 32.0, 52.5];
/// Largest offset of an object from its cell's centre, in pixels.
const JITTER: f32 = 1.0;
/// A relation is told and answered only if the centres lie at least this far apart along its axis, in pixels …
const MIN_DISTANCE: f32 = 6.0;
/// … and that offset is this many times the offset along the other axis.
const MIN_DOMINANCE: f32 = 1.3;

/// One object of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacedObject {
    /// What it is.
    pub shape: Shape,
    /// Its fill.
    pub color: Color,
    /// Its size.
    pub size: Size,
    /// Centre, in pixels from the upper left corner.
    pub x: f32,
    /// Centre, in pixels from the upper left corner, growing downwards.
    pub y: f32,
}

/// All objects of a picture; none overlap.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// In the order of the scene graph's items.
    pub objects: Vec<PlacedObject>,
}

/// A picture's layout and what its scene graph tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What is where.
    pub layout: Layout,
    /// (subject, relation, object): indices into the layout's objects.
    pub relations: Vec<(usize, SpatialRelation, usize)>,
}

/// The relation of `subject` to `object` by their centres, if it is clear enough to be told.
pub fn relation_between(subject: &PlacedObject, object: &PlacedObject) -> Option<SpatialRelation> {
    relation_of_offset(object.x - subject.x, object.y - subject.y)
}

/// The relation of a subject to an object whose centre lies at this offset from the subject's, in pixels.
pub(crate) fn relation_of_offset(dx: f32, dy: f32) -> Option<SpatialRelation> {
    if dx.abs() >= MIN_DISTANCE && dx.abs() >= MIN_DOMINANCE * dy.abs() {
        Some(if dx > 0.0 { SpatialRelation::LeftOf } else { SpatialRelation::RightOf })
    } else if dy.abs() >= MIN_DISTANCE && dy.abs() >= MIN_DOMINANCE * dx.abs() {
        Some(if dy > 0.0 { SpatialRelation::Above } else { SpatialRelation::Below })
    } else {
        None
    }
}

/// Draws a scene: 1 to 4 objects in different cells, and the relations between them that are clear.
pub fn sample_scene(rng: &mut impl Rng) -> Scene {
    let count = match rng.random_range(0..100) {
        0..10 => 1,
        10..55 => 2,
        55..85 => 3,
        _ => 4,
    };
    sample_scene_of(count, rng)
}

/// Draws a scene worth curating: mostly three or four objects. A model that draws two things well has little left to
/// learn from four pictures of them.
pub fn sample_compositional_scene(rng: &mut impl Rng) -> Scene {
    let count = match rng.random_range(0..100) {
        0..3 => 1,
        3..14 => 2,
        14..72 => 3,
        _ => 4,
    };
    sample_scene_of(count, rng)
}

fn sample_scene_of(count: usize, rng: &mut impl Rng) -> Scene {
    loop {
        let layout = sample_layout(count, rng);
        let relations = sample_relations(&layout, rng);
        if count == 1 || !relations.is_empty() {
            return Scene { layout, relations };
        }
    }
}

fn sample_layout(count: usize, rng: &mut impl Rng) -> Layout {
    let mut cells: Vec<usize> = (0..9).collect();
    cells.shuffle(rng);
    let mut objects: Vec<PlacedObject> = Vec::with_capacity(count);
    while objects.len() < count {
        let cell = cells[objects.len()];
        let Some((&shape, &color)) = Shape::ALL.choose(rng).zip(Color::ALL.choose(rng)) else { continue };
        // Two things of one colour could not be told apart with certainty where they touch.
        if objects.iter().any(|o| o.color == color) {
            continue;
        }
        objects.push(PlacedObject {
            shape,
            color,
            size: if rng.random_bool(0.5) { Size::Small } else { Size::Large },
            x: CELL_CENTRES[cell % 3] + rng.random_range(-JITTER..=JITTER),
            y: CELL_CENTRES[cell / 3] + rng.random_range(-JITTER..=JITTER),
        });
    }
    Layout { objects }
}

/// Every pair of objects whose relation is clear in the layout, told once, in a random order and direction.
///
/// A forest of relations would leave most of the layout open, and a network that may put things anywhere learns late to
/// heed the few words that say where.
fn sample_relations(layout: &Layout, rng: &mut impl Rng) -> Vec<(usize, SpatialRelation, usize)> {
    let count = layout.objects.len();
    let mut pairs: Vec<(usize, usize)> = (0..count).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    pairs.shuffle(rng);
    pairs
        .into_iter()
        .map(|(a, b)| if rng.random_bool(0.5) { (a, b) } else { (b, a) })
        .filter_map(|(subject, object)| {
            let relation = relation_between(&layout.objects[subject], &layout.objects[object])?;
            Some((subject, relation, object))
        })
        .collect()
}

impl PlacedObject {
    /// Size and colour, as the attributes of a scene graph's item.
    pub fn attributes(&self) -> [&'static str; 2] {
        [self.size.word(), self.color.word()]
    }

    /// "large red circle".
    pub fn phrase(&self) -> String {
        format!("{} {} {}", self.size.word(), self.color.word(), self.shape.word())
    }
}

impl Scene {
    /// A caption in plain words: "a large red circle left of a small blue square; a small cyan star".
    pub fn caption(&self) -> String {
        let objects = &self.layout.objects;
        let mut parts: Vec<String> = self
            .relations
            .iter()
            .map(|&(s, relation, o)| format!("a {} {} a {}", objects[s].phrase(), relation.word(), objects[o].phrase()))
            .collect();
        parts.extend(
            (0..objects.len())
                .filter(|i| self.relations.iter().all(|(s, _, o)| s != i && o != i))
                .map(|i| format!("a {}", objects[i].phrase())),
        );
        parts.join("; ")
    }

    /// One record of a LAION-SG file.
    pub fn to_laion_sg(&self, img_id: &str) -> Value {
        let items: Vec<Value> = self
            .layout
            .objects
            .iter()
            .enumerate()
            .map(|(i, o)| json!({"item_id": i, "label": o.shape.word(), "attributes": o.attributes(), "global_item_id": i}))
            .collect();
        let relations: Vec<Value> = self
            .relations
            .iter()
            .enumerate()
            .map(|(i, (s, relation, o))| json!({"triple_id": i, "item1": s, "relation": relation.word(), "item2": o}))
            .collect();
        json!({
            "img_id": img_id, "name": format!("{img_id}.png"), "caption_ori": self.caption(),
            "items": items, "relations": relations,
        })
    }
}

impl Scene {
    /// The scene graph as texts: its triples and the objects in no relation, as LAION-SG's loader gives them.
    pub fn texts(&self) -> (Vec<[String; 3]>, Vec<String>) {
        let objects = &self.layout.objects;
        let triples = self
            .relations
            .iter()
            .map(|&(s, relation, o)| [objects[s].phrase(), relation.word().to_owned(), objects[o].phrase()])
            .collect();
        let isolated = (0..objects.len())
            .filter(|i| self.relations.iter().all(|(s, _, o)| s != i && o != i))
            .map(|i| objects[i].phrase())
            .collect();
        (triples, isolated)
    }

    /// The sentence that conditions the UNet: every triple, then every object in no relation.
    pub fn sentence(&self) -> String {
        let (triples, isolated) = self.texts();
        triples.into_iter().flatten().chain(isolated).collect::<Vec<_>>().join(" ")
    }

    /// A scene like this one but for a single fact: what a caption must not be confused with.
    pub fn corrupted(&self, rng: &mut impl Rng) -> Self {
        let mut scene = self.clone();
        let count = scene.layout.objects.len();
        let subject = rng.random_range(0..count);
        let other = (subject + 1) % count;
        let objects = &mut scene.layout.objects;
        match rng.random_range(0..5) {
            0 if count > 1 => {
                let color = objects[subject].color;
                objects[subject].color = objects[other].color;
                objects[other].color = color;
            }
            1 | 2 if !scene.relations.is_empty() => {
                let index = rng.random_range(0..scene.relations.len());
                let told = scene.relations[index].1;
                let others: Vec<_> = SpatialRelation::ALL.iter().filter(|relation| **relation != told).collect();
                scene.relations[index].1 = others.choose(rng).map_or(told.inverse(), |relation| **relation);
            }
            3 => {
                let shape = objects[subject].shape;
                let others: Vec<_> = Shape::ALL.iter().filter(|other| **other != shape).collect();
                objects[subject].shape = others.choose(rng).map_or(shape, |other| **other);
            }
            _ => {
                objects[subject].size = if objects[subject].size == Size::Small { Size::Large } else { Size::Small };
            }
        }
        scene
    }
}
