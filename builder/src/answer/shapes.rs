//! Answers every question about the world of shapes from an image's pixels alone, and refuses all others.
//!
//! 1. The image is cut into regions of one colour ([`segment`]), and each region becomes a detection: colour, shape, size,
//!    centre ([`classify`]).
//! 2. The graph's items are matched to detections, each to at most one, so that as much as possible of what the graph
//!    says holds; the right shape outweighs everything else about an item.
//! 3. An entity is there if its detection has its shape. An attribute holds if the detection has it. A relation holds if
//!    it is the one that [`relation_between`] gives for the two centres: the rule by which scenes are told, with the same
//!    smallest distance and dominance. An item without a detection has no attribute and no relation.

pub mod accuracy;
mod classify;
mod segment;

use super::{Answer, Answerer};
use crate::question::{QuestionDag, Target};
use crate::scene_graph::SceneGraph;
use crate::shapes::{Color, IMAGE_SIZE, PlacedObject, Shape, Size, SpatialRelation, relation_between};
use classify::Templates;
use image::RgbImage;

/// Weight of the right shape in the matching; above that of colour and size together.
const SHAPE_WEIGHT: f32 = 4.0;
const COLOR_WEIGHT: f32 = 2.0;
const SIZE_WEIGHT: f32 = 1.5;
const RELATION_WEIGHT: f32 = 1.0;
/// Matchings that are all tried; with more, items choose in turn.
const MAX_MATCHINGS: usize = 20_000;
/// The largest regions of an image that are looked at.
const MAX_DETECTIONS: usize = 8;

/// The exact answerer of the world of shapes.
#[derive(Debug, Default)]
pub struct ShapesAnswerer {
    templates: Templates,
}

/// What an item of a graph says, as far as the world knows it; `None` inside for words of another world.
struct Item {
    shape: Option<Shape>,
    colors: Vec<Color>,
    sizes: Vec<Size>,
}

/// A relation between two items that the world knows.
#[derive(Clone, Copy)]
struct Told {
    subject: usize,
    relation: SpatialRelation,
    object: usize,
}

impl ShapesAnswerer {
    /// What is seen in an image, the largest first; centres in pixels of a 64 × 64 image.
    pub fn detect(&self, image: &RgbImage) -> Vec<PlacedObject> {
        let scale = IMAGE_SIZE as f32 / image.width().max(1) as f32;
        let map = segment::CoverageMap::of(image);
        let mut regions = segment::regions(&map, scale);
        regions.sort_by_key(|region| std::cmp::Reverse(region.pixels.len()));
        regions.truncate(MAX_DETECTIONS);
        regions.iter().map(|region| self.templates.classify(&map, region, scale)).collect()
    }
}

impl Answerer for ShapesAnswerer {
    fn name(&self) -> &'static str {
        "shapes"
    }

    fn version(&self) -> &'static str {
        "1"
    }

    fn answer(&self, image: &RgbImage, graph: &SceneGraph, questions: &QuestionDag) -> crate::Result<Vec<Answer>> {
        let items: Vec<Item> = graph.objects().map(Item::of).collect();
        let told: Vec<Option<Told>> = graph
            .relations()
            .map(|(subject, relation, object)| {
                let known = items[subject].shape.is_some() && items[object].shape.is_some();
                let relation = relation_of_words(&relation.predicate)?;
                known.then_some(Told { subject, relation, object })
            })
            .collect();
        let detections = self.detect(image);
        let relations: Vec<Told> = told.iter().copied().flatten().collect();
        let matching = best_matching(&items, &relations, &detections);
        let seen = |item: usize| matching[item].map(|detection| &detections[detection]);

        let answer = |target: Target| -> Option<bool> {
            match target {
                Target::Entity { object } => {
                    let shape = items[object].shape?;
                    Some(seen(object).is_some_and(|seen| seen.shape == shape))
                }
                Target::Attribute { object, attribute } => {
                    items[object].shape?;
                    let word = graph.object(object)?.attributes.get(attribute)?.trim().to_lowercase();
                    match (Color::from_word(&word), Size::from_word(&word)) {
                        (Some(color), _) => Some(seen(object).is_some_and(|seen| seen.color == color)),
                        (_, Some(size)) => Some(seen(object).is_some_and(|seen| seen.size == size)),
                        (None, None) => None,
                    }
                }
                Target::Relation { relation } => {
                    let Told { subject, relation, object } = (*told.get(relation)?)?;
                    let holds = |(subject, object)| relation_between(subject, object) == Some(relation);
                    Some(seen(subject).zip(seen(object)).is_some_and(holds))
                }
            }
        };
        let answers = questions.questions().map(|question| match answer(question.target) {
            Some(yes) => Answer::certain(question.id, yes),
            None => Answer::refusal(question.id),
        });
        Ok(answers.collect())
    }
}

impl Item {
    fn of(object: &crate::scene_graph::Object) -> Self {
        let words = || object.attributes.iter().map(|attribute| attribute.trim().to_lowercase());
        Self {
            shape: Shape::from_word(&object.label.trim().to_lowercase()),
            colors: words().filter_map(|word| Color::from_word(&word)).collect(),
            sizes: words().filter_map(|word| Size::from_word(&word)).collect(),
        }
    }

    /// How much of what the item says holds of a detection.
    fn likeness(&self, seen: &PlacedObject) -> f32 {
        let Some(shape) = self.shape else { return 0.0 };
        let count = |matches: usize, weight: f32| matches as f32 * weight;
        count(usize::from(seen.shape == shape), SHAPE_WEIGHT)
            + count(self.colors.iter().filter(|color| seen.color == **color).count(), COLOR_WEIGHT)
            + count(self.sizes.iter().filter(|size| seen.size == **size).count(), SIZE_WEIGHT)
    }
}

/// The relation that a predicate names.
fn relation_of_words(predicate: &str) -> Option<SpatialRelation> {
    let words = predicate.trim().to_lowercase().replace('_', " ");
    let words = ["to the ", "on the ", "is "].iter().find_map(|head| words.strip_prefix(head)).unwrap_or(&words);
    SpatialRelation::from_word(words)
}

/// A detection, or none, for each item; no detection twice. Deterministic: of equal matchings the first stands.
fn best_matching(items: &[Item], relations: &[Told], detections: &[PlacedObject]) -> Vec<Option<usize>> {
    let likeness: Vec<Vec<f32>> =
        items.iter().map(|item| detections.iter().map(|seen| item.likeness(seen)).collect()).collect();
    // Items of another world are never matched and cost nothing.
    let choosing: Vec<usize> = (0..items.len()).filter(|&item| items[item].shape.is_some()).collect();
    let count = (detections.len() + 1).checked_pow(choosing.len() as u32);
    let mut search = Search {
        likeness: &likeness,
        relations,
        detections,
        choosing: &choosing,
        current: vec![None; items.len()],
        taken: vec![false; detections.len()],
        best: vec![None; items.len()],
        best_score: -1.0,
    };
    if count.is_some_and(|count| count <= MAX_MATCHINGS) {
        search.try_all(0, 0.0);
    } else {
        search.choose_in_turn();
    }
    search.best
}

struct Search<'a> {
    likeness: &'a [Vec<f32>],
    relations: &'a [Told],
    detections: &'a [PlacedObject],
    choosing: &'a [usize],
    current: Vec<Option<usize>>,
    taken: Vec<bool>,
    best: Vec<Option<usize>>,
    best_score: f32,
}

impl Search<'_> {
    fn try_all(&mut self, position: usize, score: f32) {
        let Some(&item) = self.choosing.get(position) else {
            let score = score + self.relation_score();
            if score > self.best_score {
                self.best_score = score;
                self.best.clone_from(&self.current);
            }
            return;
        };
        for detection in 0..self.detections.len() {
            let likeness = self.likeness[item][detection];
            if !self.taken[detection] && likeness > 0.0 {
                self.taken[detection] = true;
                self.current[item] = Some(detection);
                self.try_all(position + 1, score + likeness);
                self.taken[detection] = false;
            }
        }
        self.current[item] = None;
        self.try_all(position + 1, score);
    }

    fn relation_score(&self) -> f32 {
        let holds = |told: &&Told| {
            let ends = self.current[told.subject].zip(self.current[told.object]);
            ends.is_some_and(|(s, o)| relation_between(&self.detections[s], &self.detections[o]) == Some(told.relation))
        };
        RELATION_WEIGHT * self.relations.iter().filter(holds).count() as f32
    }

    /// The likeliest item and detection first, then the likeliest of what is left.
    fn choose_in_turn(&mut self) {
        let mut couples: Vec<(usize, usize)> = self
            .choosing
            .iter()
            .flat_map(|&item| (0..self.detections.len()).map(move |detection| (item, detection)))
            .filter(|&(item, detection)| self.likeness[item][detection] > 0.0)
            .collect();
        couples.sort_by(|a, b| self.likeness[b.0][b.1].total_cmp(&self.likeness[a.0][a.1]));
        for (item, detection) in couples {
            if self.best[item].is_none() && !self.taken[detection] {
                self.taken[detection] = true;
                self.best[item] = Some(detection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::AnswerValue;
    use crate::question::derive;
    use crate::shapes::{Layout, render};
    use serde_json::json;

    fn placed(shape: Shape, color: Color, size: Size, x: f32, y: f32) -> PlacedObject {
        PlacedObject { shape, color, size, x, y }
    }

    fn answers(objects: &[PlacedObject], record: &serde_json::Value) -> String {
        let graph = SceneGraph::from_laion_sg(record).unwrap();
        let questions = derive(&graph);
        let image = render(&Layout { objects: objects.to_vec() });
        let answers = ShapesAnswerer::default().answer(&image, &graph, &questions).unwrap();
        answers
            .iter()
            .map(|answer| match answer.value {
                AnswerValue::Yes => 'y',
                AnswerValue::No => 'n',
                AnswerValue::CannotAnswer => '?',
            })
            .collect()
    }

    fn record(items: &serde_json::Value, relations: &serde_json::Value) -> serde_json::Value {
        json!({"img_id": "1", "name": "", "caption_ori": "", "items": items, "relations": relations})
    }

    #[test]
    fn what_is_outside_the_world_is_refused() {
        let record = record(
            &json!([
                {"item_id": 0, "label": "circle", "attributes": ["red", "shiny", "small"]},
                {"item_id": 1, "label": "dog", "attributes": ["red"]},
                {"item_id": 2, "label": "Star", "attributes": ["black"]},
            ]),
            &json!([
                {"item1": 0, "relation": "left of", "item2": 1},
                {"item1": 0, "relation": "holding", "item2": 2},
                {"item1": 0, "relation": "to the left of", "item2": 2},
            ]),
        );
        let objects = [
            placed(Shape::Circle, Color::Red, Size::Large, 12.0, 30.0),
            placed(Shape::Star, Color::Black, Size::Small, 45.0, 31.0),
        ];
        // Entities, then red, shiny, small of the circle, red of the dog, black of the star, then relations.
        assert_eq!(answers(&objects, &record), "y?yy?n?y??y");
    }

    #[test]
    fn items_share_no_detection() {
        let record = record(
            &json!([
                {"item_id": 0, "label": "circle", "attributes": ["red"]},
                {"item_id": 1, "label": "circle", "attributes": ["blue"]},
            ]),
            &json!([{"item1": 0, "relation": "above", "item2": 1}]),
        );
        let one = [placed(Shape::Circle, Color::Blue, Size::Large, 32.0, 32.0)];
        assert_eq!(answers(&one, &record), "nynyn");
        let two = [one[0], placed(Shape::Circle, Color::Red, Size::Small, 32.0, 10.0)];
        assert_eq!(answers(&two, &record), "yyyyy");
    }

    #[test]
    fn an_empty_image_holds_nothing() {
        let record = record(&json!([{"item_id": 0, "label": "circle", "attributes": ["red"]}]), &json!([]));
        assert_eq!(answers(&[], &record), "nn");
    }

    #[test]
    fn touching_shapes_are_told_apart() {
        let answerer = ShapesAnswerer::default();
        for color in [Color::Red, Color::Green] {
            let objects = [
                placed(Shape::Square, Color::Red, Size::Large, 20.0, 30.0),
                placed(Shape::Circle, color, Size::Large, 37.0, 30.5),
            ];
            let mut seen = answerer.detect(&render(&Layout { objects: objects.to_vec() }));
            seen.sort_by(|a, b| a.x.total_cmp(&b.x));
            let shapes: Vec<_> = seen.iter().map(|seen| (seen.shape, seen.color, seen.size)).collect();
            assert_eq!(shapes, [(Shape::Square, Color::Red, Size::Large), (Shape::Circle, color, Size::Large)]);
        }
    }
}
