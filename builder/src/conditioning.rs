//! SceneGraph → Conditioning: the words that the scene-graph encoder reads.

use crate::scene_graph::SceneGraph;
use models::scene_graph_encoder::GraphText;

/// The triples of item texts and predicates in file order, then the items that no relation names, as LAION-SG's loader
/// gives them (without its leading blank where an item has no attributes).
pub fn graph_text(graph: &SceneGraph) -> GraphText {
    let texts: Vec<String> = (0..graph.num_objects()).map(|object| graph.item_text(object)).collect();
    GraphText {
        triples: graph
            .relations()
            .map(|(subject, relation, object)| {
                [texts[subject].clone(), relation.predicate.clone(), texts[object].clone()]
            })
            .collect(),
        isolated: graph.isolated().map(|object| texts[object].clone()).collect(),
    }
}
