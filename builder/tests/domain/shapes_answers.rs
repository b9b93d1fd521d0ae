//! The exact answerer against pictures whose truth is known: as drawn, and blurred and noisy as a decoder leaves them.

use builder::answer::shapes::ShapesAnswerer;
use builder::answer::{AnswerValue, Answerer};
use builder::question::{QuestionKind, Target, derive};
use builder::scene_graph::SceneGraph;
use builder::shapes::{Color, Scene, Shape, Size, SpatialRelation, generate, render};
use image::RgbImage;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Normal;
use std::collections::BTreeMap;
use std::time::Instant;

const SCENES: usize = 2_000;

#[derive(Clone, Copy, Debug)]
struct Damage {
    blur: f32,
    noise: f32,
}

const DAMAGES: [Damage; 3] =
    [Damage { blur: 0.0, noise: 0.0 }, Damage { blur: 0.7, noise: 6.0 }, Damage { blur: 1.0, noise: 10.0 }];

fn damaged(image: &RgbImage, damage: Damage, rng: &mut ChaCha8Rng) -> RgbImage {
    let mut image = if damage.blur > 0.0 { image::imageops::blur(image, damage.blur) } else { image.clone() };
    if damage.noise > 0.0 {
        let noise = Normal::new(0.0, damage.noise).unwrap();
        image
            .pixels_mut()
            .flat_map(|pixel| &mut pixel.0)
            .for_each(|value| *value = (f32::from(*value) + rng.sample(noise)).round() as u8);
    }
    image
}

fn graph_of(scene: &Scene) -> SceneGraph {
    SceneGraph::from_laion_sg(&scene.to_laion_sg("x")).unwrap()
}

/// Counts answers by (kind of question, expected answer).
#[derive(Default)]
struct Tally(BTreeMap<(QuestionKind, bool), (usize, usize)>);

impl Tally {
    fn add(&mut self, kind: QuestionKind, expected: bool, found: AnswerValue) {
        let (right, all) = self.0.entry((kind, expected)).or_default();
        *right += usize::from(found == if expected { AnswerValue::Yes } else { AnswerValue::No });
        *all += 1;
    }

    fn check(&self, damage: Damage) {
        for ((kind, expected), (right, all)) in &self.0 {
            let accuracy = *right as f64 / *all as f64;
            println!("{damage:?} {kind:?} {expected}: {right} of {all}, {accuracy:.4}");
            assert!(*all >= 500, "too few");
            assert!(accuracy >= 0.99, "{damage:?} {kind:?} {expected}: {accuracy}");
        }
    }
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

#[test]
fn what_is_drawn_is_seen() {
    let answerer = ShapesAnswerer::default();
    for damage in DAMAGES {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut tally = Tally::default();
        for scene in generate(11, SCENES) {
            let graph = graph_of(&scene);
            let questions = derive(&graph);
            let image = damaged(&render(&scene.layout), damage, &mut rng);
            let answers = answerer.answer(&image, &graph, &questions).unwrap();
            for (question, answer) in questions.questions().zip(answers) {
                assert_eq!(question.id, answer.question);
                tally.add(question.kind, true, answer.value);
            }
        }
        tally.check(damage);
    }
}

#[test]
fn what_is_not_drawn_is_not_seen() {
    let answerer = ShapesAnswerer::default();
    for damage in DAMAGES {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut tally = Tally::default();
        for scene in generate(12, 2 * SCENES) {
            let Some((other, target)) = falsified(&scene, &mut rng) else { continue };
            let graph = graph_of(&other);
            let questions = derive(&graph);
            let image = damaged(&render(&scene.layout), damage, &mut rng);
            let answers = answerer.answer(&image, &graph, &questions).unwrap();
            let position = questions.questions().position(|question| question.target == target).unwrap();
            tally.add(questions.questions().nth(position).unwrap().kind, false, answers[position].value);
        }
        tally.check(damage);
    }
}

#[test]
fn another_scene_scores_low() {
    let answerer = ShapesAnswerer::default();
    let scenes = generate(13, 1_000);
    let (mut sum, mut count) = (0.0, 0.0);
    for (scene, other) in scenes.iter().zip(scenes.iter().skip(1)) {
        let graph = graph_of(scene);
        let questions = derive(&graph);
        let answers = answerer.answer(&render(&other.layout), &graph, &questions).unwrap();
        sum += builder::score::score_card(&questions, &answers).dpg.score.unwrap();
        count += 1.0;
    }
    println!("mean score of another scene's picture: {:.3}", sum / count);
    assert!(sum / count < 0.4);
}

#[test]
fn an_image_takes_less_than_half_a_millisecond() {
    let answerer = ShapesAnswerer::default();
    let cases: Vec<_> = generate(14, 200)
        .iter()
        .map(|scene| {
            let graph = graph_of(scene);
            (render(&scene.layout), derive(&graph), graph)
        })
        .collect();
    let fastest = (0..5)
        .map(|_| {
            let started = Instant::now();
            for (image, questions, graph) in &cases {
                assert_eq!(answerer.answer(image, graph, questions).unwrap().len(), questions.len());
            }
            started.elapsed() / cases.len() as u32
        })
        .min()
        .unwrap();
    println!("{fastest:?} an image");
    assert!(fastest.as_micros() < 500, "{fastest:?}");
}
