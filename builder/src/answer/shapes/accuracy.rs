//! How often the exact answerer is right about pictures whose truth is known: as drawn, and blurred and noisy as a decoder
//! leaves them. Half of what is asked holds; the other half is one fact changed, which no object of the picture makes true.

use std::collections::BTreeMap;

use image::RgbImage;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Normal;

use super::ShapesAnswerer;
use crate::answer::{AnswerValue, Answerer};
use crate::question::{QuestionKind, Target, derive};
use crate::scene_graph::SceneGraph;
use crate::shapes::{Color, Scene, Shape, Size, SpatialRelation, generate, render};
use crate::{Error, Result};

/// What a decoder does to a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damage {
    /// Standard deviation of the blur, in pixels.
    pub blur: f32,
    /// Standard deviation of the noise, in steps of 255.
    pub noise: f32,
}

/// None, that of a good decoder, and that of a bad one.
pub const DAMAGES: [Damage; 3] =
    [Damage { blur: 0.0, noise: 0.0 }, Damage { blur: 0.7, noise: 6.0 }, Damage { blur: 1.0, noise: 10.0 }];

/// Answers that were right, of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Right ones.
    pub right: usize,
    /// All of them.
    pub all: usize,
}

impl Tally {
    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.all as f64
    }

    fn add(&mut self, is_right: bool) {
        self.right += usize::from(is_right);
        self.all += 1;
    }
}

/// By kind of question, and whether what it asks holds.
pub type Accuracy = BTreeMap<(QuestionKind, bool), Tally>;

/// Asks about `scenes` scenes what holds, and about twice as many what does not.
///
/// # Errors
/// A scene gives no graph: a bug.
pub fn measure(scenes: usize, damage: Damage) -> Result<Accuracy> {
    let answerer = ShapesAnswerer::default();
    let mut accuracy = Accuracy::new();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for scene in generate(11, scenes) {
        let graph = graph_of(&scene)?;
        let questions = derive(&graph);
        let image = damaged(&render(&scene.layout), damage, &mut rng)?;
        for (question, answer) in questions.questions().zip(answerer.answer(&image, &graph, &questions)?) {
            accuracy.entry((question.kind, true)).or_default().add(answer.value == AnswerValue::Yes);
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for scene in generate(12, 2 * scenes) {
        let Some((other, target)) = falsified(&scene, &mut rng) else { continue };
        let graph = graph_of(&other)?;
        let questions = derive(&graph);
        let image = damaged(&render(&scene.layout), damage, &mut rng)?;
        let answers = answerer.answer(&image, &graph, &questions)?;
        for (question, answer) in questions.questions().zip(answers).filter(|(question, _)| question.target == target) {
            accuracy.entry((question.kind, false)).or_default().add(answer.value == AnswerValue::No);
        }
    }
    Ok(accuracy)
}

fn graph_of(scene: &Scene) -> Result<SceneGraph> {
    SceneGraph::from_laion_sg(&scene.to_laion_sg("x")).map_err(|error| Error::Format(error.to_string()))
}

fn damaged(image: &RgbImage, damage: Damage, rng: &mut ChaCha8Rng) -> Result<RgbImage> {
    let mut image = if damage.blur > 0.0 { image::imageops::blur(image, damage.blur) } else { image.clone() };
    if damage.noise > 0.0 {
        let noise = Normal::new(0.0, damage.noise).map_err(|error| Error::Image(error.to_string()))?;
        image
            .pixels_mut()
            .flat_map(|pixel| &mut pixel.0)
            .for_each(|value| *value = (f32::from(*value) + rng.sample(noise)).round() as u8);
    }
    Ok(image)
}

/// Changes one thing so that one question about it is false of the picture, whichever object is meant; gives that question.
fn falsified(scene: &Scene, rng: &mut ChaCha8Rng) -> Option<(Scene, Target)> {
    let mut scene = scene.clone();
    let objects = &mut scene.layout.objects;
    let item = rng.random_range(0..objects.len());
    match rng.random_range(0..4) {
        0 => {
            let absent: Vec<Shape> = Shape::ALL
                .iter()
                .copied()
                .filter(|shape| objects.iter().all(|object| object.shape != *shape))
                .collect();
            objects[item].shape = *absent.choose(rng)?;
            Some((scene, Target::Entity { object: item }))
        }
        1 => {
            let absent: Vec<Color> = Color::ALL
                .iter()
                .copied()
                .filter(|color| objects.iter().all(|object| object.color != *color))
                .collect();
            objects[item].color = *absent.choose(rng)?;
            Some((scene, Target::Attribute { object: item, attribute: 1 }))
        }
        2 => {
            let (shape, other) =
                (objects[item].shape, if objects[item].size == Size::Small { Size::Large } else { Size::Small });
            let alone = objects.iter().filter(|object| object.shape == shape).count() == 1;
            objects[item].size = other;
            alone.then_some((scene, Target::Attribute { object: item, attribute: 0 }))
        }
        _ => {
            let relation = rng.random_range(0..scene.relations.len().max(1));
            let told = scene.relations.get_mut(relation)?;
            let others: Vec<SpatialRelation> =
                SpatialRelation::ALL.iter().copied().filter(|other| *other != told.1).collect();
            told.1 = *others.choose(rng)?;
            let alone = |i: usize| objects.iter().filter(|object| object.shape == objects[i].shape).count() == 1;
            (alone(told.0) && alone(told.2)).then_some((scene, Target::Relation { relation }))
        }
    }
}
