//! What is asked of an image: a graph's entities, attributes and relations as yes-no questions.
//!
//! The questions form a directed acyclic graph, as in DSG and DPG-Bench: an attribute counts only when its entity is
//! there, a relation only when both its entities are. Numbers are topological by construction: entities first, in item
//! order, then attributes, then relations in file order. The same graph always gives the same questions.

mod category;
mod wording;

pub use category::Category;
pub(crate) use category::number;

use crate::scene_graph::SceneGraph;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Changes whenever the same graph would be asked something else, or in other words.
pub const TEMPLATE_VERSION: &str = "2";

/// Which part of a graph a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// Is the thing there?
    Entity,
    /// Is it so?
    Attribute,
    /// Do the two things relate so?
    Relation,
}

impl QuestionKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Entity, Self::Attribute, Self::Relation];

    /// The word used in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Attribute => "attribute",
            Self::Relation => "relation",
        }
    }
}

/// What a question asks about, as positions in its scene graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// An object.
    Entity {
        /// Position of the object.
        object: usize,
    },
    /// An attribute of an object.
    Attribute {
        /// Position of the object.
        object: usize,
        /// Position among the object's attributes.
        attribute: usize,
    },
    /// A relation.
    Relation {
        /// Position of the relation.
        relation: usize,
    },
}

/// One yes-no question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// From 1; every parent has a smaller one.
    pub id: u32,
    /// Entity, attribute or relation.
    pub kind: QuestionKind,
    /// DPG-Bench's second level: "attribute - color".
    pub category: Category,
    /// "Is the circle red?"
    pub text: String,
    /// DPG-Bench's form: "attribute - color (circle, red)".
    pub tuple: String,
    /// Questions without whose yes this one does not count; ascending.
    pub parents: Vec<u32>,
    /// What it asks about.
    pub target: Target,
}

/// The questions of one graph; edges lead from parent to child.
#[derive(Clone, Debug, Default)]
pub struct QuestionDag {
    // Node i is question i + 1: nothing is ever removed.
    graph: DiGraph<Question, ()>,
}

impl QuestionDag {
    /// The questions, by number.
    pub fn questions(&self) -> impl ExactSizeIterator<Item = &Question> + Clone {
        self.graph.raw_nodes().iter().map(|node| &node.weight)
    }

    /// The question of this number.
    pub fn question(&self, id: u32) -> Option<&Question> {
        self.graph.node_weight(NodeIndex::new(id.checked_sub(1)? as usize))
    }

    /// Number of questions.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The petgraph form: one node a question, edges from parent to child.
    pub fn graph(&self) -> &DiGraph<Question, ()> {
        &self.graph
    }

    fn add(
        &mut self,
        kind: QuestionKind,
        category: Category,
        text: String,
        arguments: &[&str],
        target: Target,
        mut parents: Vec<u32>,
    ) -> u32 {
        parents.sort_unstable();
        parents.dedup();
        let id = self.len() as u32 + 1;
        let tuple = format!("{} ({})", category.as_str(), arguments.join(", "));
        let node = self.graph.add_node(Question { id, kind, category, text, tuple, parents: parents.clone(), target });
        for parent in parents {
            self.graph.add_edge(NodeIndex::new(parent as usize - 1), node, ());
        }
        id
    }
}

/// The questions that follow from a graph. What the graph says twice is asked once.
pub fn derive(graph: &SceneGraph) -> QuestionDag {
    let mut dag = QuestionDag::default();
    let names = wording::Names::of(graph);
    // 1. Entities; question i + 1 is about object i.
    for (object, item) in graph.objects().enumerate() {
        dag.add(
            QuestionKind::Entity,
            Category::EntityWhole,
            names.entity_question(object),
            &[&wording::plain(&item.label)],
            Target::Entity { object },
            Vec::new(),
        );
    }
    let entity = |object: usize| object as u32 + 1;
    // 2. Attributes.
    for (object, item) in graph.objects().enumerate() {
        let mut seen = HashSet::new();
        for (attribute, words) in item.attributes.iter().enumerate() {
            let words = wording::plain(words);
            if words.is_empty() || !seen.insert(words.clone()) {
                continue;
            }
            let category = Category::of_attribute(&words);
            dag.add(
                QuestionKind::Attribute,
                category,
                names.attribute_question(object, &words, category),
                &[&wording::plain(&item.label), &words],
                Target::Attribute { object, attribute },
                vec![entity(object)],
            );
        }
    }
    // 3. Relations.
    let mut seen = HashSet::new();
    for (relation, (subject, edge, object)) in graph.relations().enumerate() {
        let predicate = wording::plain(&edge.predicate);
        if !seen.insert((subject, predicate.clone(), object)) {
            continue;
        }
        let label = |i: usize| graph.object(i).map(|item| wording::plain(&item.label)).unwrap_or_default();
        dag.add(
            QuestionKind::Relation,
            Category::of_predicate(&predicate),
            names.relation_question(subject, &predicate, object),
            &[&label(subject), &label(object), &predicate],
            Target::Relation { relation },
            vec![entity(subject), entity(object)],
        );
    }
    dag
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ask(items: &[(&str, &[&str])], relations: &[(usize, &str, usize)]) -> Vec<(String, String, Vec<u32>)> {
        let items: Vec<Value> = items
            .iter()
            .enumerate()
            .map(|(i, (label, attributes))| json!({"item_id": i, "label": label, "attributes": attributes}))
            .collect();
        let relations: Vec<Value> =
            relations.iter().map(|(s, p, o)| json!({"item1": s, "relation": p, "item2": o})).collect();
        let record = json!({"img_id": "1", "name": "", "caption_ori": "", "items": items, "relations": relations});
        let dag = derive(&SceneGraph::from_laion_sg(&record).unwrap());
        assert!(!petgraph::algo::is_cyclic_directed(dag.graph()));
        dag.questions().map(|q| (q.text.clone(), q.tuple.clone(), q.parents.clone())).collect()
    }

    fn row(text: &str, tuple: &str, parents: &[u32]) -> (String, String, Vec<u32>) {
        (text.to_owned(), tuple.to_owned(), parents.to_vec())
    }

    #[test]
    fn a_graph_of_shapes() {
        let asked = ask(&[("circle", &["large", "red"]), ("square", &["small"])], &[(0, "left of", 1)]);
        assert_eq!(
            asked,
            [
                row("Is there a circle?", "entity - whole (circle)", &[]),
                row("Is there a square?", "entity - whole (square)", &[]),
                row("Is the circle large?", "attribute - size (circle, large)", &[1]),
                row("Is the circle red?", "attribute - color (circle, red)", &[1]),
                row("Is the square small?", "attribute - size (square, small)", &[2]),
                row(
                    "Is the circle to the left of the square?",
                    "relation - spatial (circle, square, left of)",
                    &[1, 2]
                ),
            ]
        );
    }

    #[test]
    fn two_things_of_one_name_are_told_apart() {
        let asked = ask(
            &[("circle", &["red"]), ("circle", &["blue"]), ("man", &[]), ("man", &["tall"]), ("man", &["tall"])],
            &[(0, "above", 1), (2, "next to", 4)],
        );
        let texts: Vec<&str> = asked.iter().map(|row| row.0.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Is there a circle?",
                "Is there a second circle?",
                "Is there a man?",
                "Is there a second man?",
                "Is there a third man?",
                "Is the first circle red?",
                "Is the second circle blue?",
                "Is the second man tall?",
                "Is the third man tall?",
                "Is the red circle above the blue circle?",
                "Is the first man next to the third man?",
            ]
        );
    }

    #[test]
    fn words_of_visual_genome() {
        let asked = ask(
            &[
                ("house", &["made of bricks"]),
                ("stone", &["brick"]),
                ("glasses", &["2", "wooden"]),
                ("orange", &["parked"]),
                ("water", &["blue"]),
                ("man", &[]),
                ("bus", &[]),
            ],
            &[
                (0, "made_of", 1),
                (5, "wears", 2),
                (5, "WEARING", 2),
                (2, "ON", 6),
                (5, "has", 6),
                (3, "hang from", 6),
                (6, "is in front of", 4),
                (1, "of", 0),
                (5, "riding", 6),
                (5, "carries", 1),
                (6, "covered in", 4),
            ],
        );
        let texts: Vec<&str> = asked.iter().map(|row| row.0.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Is there a house?",
                "Is there a stone?",
                "Are there glasses?",
                "Is there an orange?",
                "Is there water?",
                "Is there a man?",
                "Is there a bus?",
                "Is the house made of bricks?",
                "Is the stone made of brick?",
                "Are there two glasses?",
                "Are the glasses wooden?",
                "Is the orange parked?",
                "Is the water blue?",
                "Is the house made of the stone?",
                "Does the man wear the glasses?",
                "Is the man wearing the glasses?",
                "Are the glasses on the bus?",
                "Does the man have the bus?",
                "Does the orange hang from the bus?",
                "Is the bus in front of the water?",
                "Is the stone part of the house?",
                "Is the man riding the bus?",
                "Does the man carry the stone?",
                "Is the bus covered in the water?",
            ]
        );
        assert_eq!(asked[9].1, "other - count (glasses, 2)");
        assert_eq!(asked[14].1, "relation - non-spatial (man, glasses, wears)");
    }

    #[test]
    fn a_number_of_things_is_asked_for_as_a_number() {
        let asked = ask(
            &[
                ("dog", &["two"]),
                ("teddy bear", &["3"]),
                ("cup", &["one"]),
                ("fox", &["2"]),
                ("fox", &["four"]),
                ("water", &["two"]),
            ],
            &[],
        );
        let texts: Vec<&str> = asked.iter().skip(6).map(|row| row.0.as_str()).collect();
        let expected = [
            "Are there two dogs?",
            "Are there three teddy bears?",
            "Is there one cup?",
            "Are there two foxes in the first group?",
            "Are there four foxes in the second group?",
            "Is the water two?",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn what_is_said_twice_is_asked_once() {
        let asked = ask(&[("dog", &["brown", "brown", " "]), ("sofa", &[])], &[(0, "on", 1), (0, "on", 1)]);
        assert_eq!(asked.len(), 4);
    }
}
