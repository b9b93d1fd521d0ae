//! The exact answerer against pictures whose truth is known: as drawn, and blurred and noisy as a decoder leaves them.

use builder::answer::Answerer;
use builder::answer::shapes::ShapesAnswerer;
use builder::answer::shapes::accuracy::{DAMAGES, measure};
use builder::question::derive;
use builder::scene_graph::SceneGraph;
use builder::shapes::{Scene, generate, render};
use std::time::Instant;

const SCENES: usize = 2_000;

fn graph_of(scene: &Scene) -> SceneGraph {
    SceneGraph::from_laion_sg(&scene.to_laion_sg("x")).unwrap()
}

#[test]
fn what_is_drawn_is_seen_and_what_is_not_is_not() {
    for damage in DAMAGES {
        let accuracy = measure(SCENES, damage).unwrap();
        assert_eq!(accuracy.len(), 6);
        for ((kind, expected), tally) in accuracy {
            println!("{damage:?} {kind:?} {expected}: {} of {}", tally.right, tally.all);
            assert!(tally.all >= 500, "too few");
            assert!(tally.accuracy() >= 0.99, "{damage:?} {kind:?} {expected}: {tally:?}");
        }
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
