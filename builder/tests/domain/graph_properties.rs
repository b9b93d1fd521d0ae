//! Properties of any graph: it survives its file form, and its questions form a graph of their own.

use builder::laion_sg::{self, Record};
use builder::question::{QuestionKind, derive};
use builder::scene_graph::{Object, Relation, SceneGraph};
use proptest::prelude::*;
use serde_json::{Map, json};

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z][a-zA-Z_ ]{0,12}[a-z]",
        1 => "\\PC{1,8}".prop_filter("visible", |text| text.chars().any(char::is_alphanumeric)),
    ]
}

fn graph() -> impl Strategy<Value = SceneGraph> {
    let object = (words(), prop::collection::vec(words(), 0..4), any::<Option<u64>>());
    let objects = prop::collection::vec(object, 1..8);
    let relations = prop::collection::vec((any::<prop::sample::Index>(), words(), any::<prop::sample::Index>()), 0..10);
    (objects, relations, any::<u64>(), "\\PC{1,12}", "\\PC{0,40}").prop_map(
        |(objects, relations, first_id, img_id, caption)| {
            let count = objects.len();
            let objects = objects.into_iter().enumerate().map(|(i, (label, attributes, global_item_id))| Object {
                item_id: first_id.wrapping_add(i as u64),
                label,
                attributes,
                global_item_id,
                extra: Map::from_iter([("box".to_owned(), json!([i, 0.5]))]),
            });
            let relations = relations.into_iter().map(|(subject, predicate, object)| {
                (subject.index(count), Relation { predicate, triple_id: None, extra: Map::new() }, object.index(count))
            });
            let relations = relations.filter(|(subject, _, object)| subject != object).collect();
            SceneGraph::new(format!("x{img_id}"), "x.jpg", caption, objects.collect(), relations).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn a_graph_survives_its_file_form(graph in graph()) {
        let document = graph.to_laion_sg();
        let again = SceneGraph::from_laion_sg(&document).unwrap();
        prop_assert_eq!(again.to_laion_sg(), document.clone());
        prop_assert_eq!(again.content_hash(), graph.content_hash());
        prop_assert_eq!(again.meaning_hash(), graph.meaning_hash());
        let file = json!([document]).to_string();
        let records: Vec<Record> = laion_sg::read(file.as_bytes(), "x.json").collect();
        let same = matches!(&records[..], [Record::Graph { graph: read, .. }] if read.to_laion_sg() == document);
        prop_assert!(same);
    }

    #[test]
    fn the_split_does_not_know_names_or_order(graph in graph()) {
        let mut objects: Vec<Object> = graph.objects().cloned().collect();
        objects.reverse();
        let last = objects.len() - 1;
        let relations = graph.relations().map(|(s, relation, o)| (last - s, relation.clone(), last - o));
        let turned = SceneGraph::new("another", "y.jpg", "", objects, relations.collect()).unwrap();
        prop_assert_eq!(turned.split(), graph.split());
        prop_assert_eq!(turned.meaning_hash(), graph.meaning_hash());
    }

    #[test]
    fn questions_form_an_acyclic_graph_in_topological_order(graph in graph()) {
        let dag = derive(&graph);
        prop_assert!(!petgraph::algo::is_cyclic_directed(dag.graph()));
        prop_assert!(dag.len() >= graph.num_objects());
        for (position, question) in dag.questions().enumerate() {
            prop_assert_eq!(question.id as usize, position + 1);
            prop_assert!(question.parents.iter().all(|parent| *parent < question.id));
            let num_parents = match question.kind {
                QuestionKind::Entity => 0,
                QuestionKind::Attribute => 1,
                QuestionKind::Relation => 2,
            };
            prop_assert_eq!(question.parents.len(), num_parents);
            prop_assert!(question.text.ends_with('?') && !question.text.contains("  "), "{}", question.text);
            prop_assert!(question.parents.iter().all(|parent| dag.question(*parent).unwrap().kind == QuestionKind::Entity));
        }
        let again = derive(&graph);
        prop_assert!(dag.questions().eq(again.questions()));
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..200), name in prop_oneof!["x.json", "x.jsonl", "-"]) {
        let records = laion_sg::read(&bytes[..], &name).count();
        prop_assert!(records <= 200);
    }

    #[test]
    fn a_cut_file_keeps_the_records_before_the_cut(graph in graph(), cut in any::<prop::sample::Index>()) {
        let document = graph.to_laion_sg();
        let mut second = document.clone();
        second["img_id"] = json!("second");
        let file = json!([document, second]).to_string();
        let cut = cut.index(file.len());
        let records: Vec<Record> = laion_sg::read(&file.as_bytes()[..cut], "x.json").collect();
        let good = records.iter().filter(|record| matches!(record, Record::Graph { .. })).count();
        let complete = usize::from(cut > document.to_string().len() + 1);
        prop_assert_eq!(good, complete, "{}", cut);
        prop_assert!(records.last().is_some_and(|record| record.findings().iter().any(|finding| finding.code.is_error())));
    }
}
