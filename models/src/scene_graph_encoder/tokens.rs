//! A scene graph as tokens: what is encoded, and which token is which node or edge.

use serde::{Deserialize, Serialize};

use super::SEQUENCE_LENGTH;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Tokens of a sentence that the graph can correct: all but begin and end.
const MAX_CORRECTED: usize = SEQUENCE_LENGTH - 2;

/// What the network needs of a scene graph: texts. An item is its attributes and its label, joined by blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GraphText {
    /// Subject, relation, object, in the order of the file.
    pub triples: Vec<[String; 3]>,
    /// Items in no relation.
    pub isolated: Vec<String>,
}

impl GraphText {
    /// The caption that stands for the graph: its triples one after the other, then the isolated items.
    pub fn sentence(&self) -> String {
        let isolated = self.isolated.iter().map(String::as_str);
        self.triples
            .iter()
            .flatten()
            .map(String::as_str)
            .chain(isolated)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    }
}

/// A scene graph, ready for the text encoders and the graph network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphTokens {
    /// Ids of the sentence with begin and end, at most 77.
    pub sentence: Vec<u32>,
    /// Ids with begin and end of the texts that are encoded on their own; the first is "-".
    pub phrases: Vec<Vec<u32>>,
    pub(super) nodes: Vec<Token>,
    pub(super) edges: Vec<Edge>,
    /// What corrects each token of the sentence, from the first after begin; at most 75.
    pub(super) sequence: Vec<Place>,
}

/// A token of a phrase; position 0 is the first after begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub phrase: usize,
    pub position: usize,
}

/// An edge between two nodes whose feature is that of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub token: Token,
    pub source: usize,
    pub target: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Node(usize),
    Edge(usize),
}

impl GraphTokens {
    /// Lays a graph out in tokens. Triples that begin beyond the 75th token are left out: they could correct nothing.
    ///
    /// # Errors
    /// An item without any token, or a sentence whose tokens are not those of its parts.
    pub fn prepare(graph: &GraphText, tokenizer: &Tokenizer) -> Result<Self> {
        let mut tokens = Self {
            sentence: tokenizer.encode(&graph.sentence())?,
            phrases: vec![tokenizer.encode("-")?],
            nodes: vec![],
            edges: vec![],
            sequence: vec![],
        };
        for (index, triple) in graph.triples.iter().enumerate() {
            if tokens.sequence.len() >= MAX_CORRECTED {
                break;
            }
            tokens.add_triple(index, triple, tokenizer)?;
        }
        tokens.sequence.truncate(MAX_CORRECTED);
        tokens.check()?;
        Ok(tokens)
    }

    fn add_triple(
        &mut self,
        index: usize,
        [subject, relation, object]: &[String; 3],
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        let relation = self.add_phrase(tokenizer.encode(relation)?);
        let (subject_places, subject_head) = self.add_item(index, subject, tokenizer)?;
        let (object_places, object_head) = self.add_item(index, object, tokenizer)?;
        let relation_places: Vec<Place> = (0..self.body_length(relation))
            .map(|position| {
                let token = Token { phrase: relation, position };
                self.edges.push(Edge { token, source: subject_head, target: object_head });
                Place::Edge(self.edges.len() - 1)
            })
            .collect();
        self.sequence.extend(subject_places.chain(relation_places).chain(object_places));
        Ok(())
    }

    /// Nodes of an item, the edges from its tokens to the last, its head; gives the places of the nodes and the head.
    fn add_item(
        &mut self,
        triple: usize,
        text: &str,
        tokenizer: &Tokenizer,
    ) -> Result<(impl Iterator<Item = Place> + use<>, usize)> {
        let phrase = self.add_phrase(tokenizer.encode(text)?);
        let length = self.body_length(phrase);
        if length == 0 {
            return Err(Error::Graph(format!("triple {triple}: the item `{text}` has no token")));
        }
        let first = self.nodes.len();
        let head = first + length - 1;
        self.nodes.extend((0..length).map(|position| Token { phrase, position }));
        let dash = Token { phrase: 0, position: 0 };
        self.edges.extend((first..head).map(|source| Edge { token: dash, source, target: head }));
        Ok(((first..=head).map(Place::Node), head))
    }

    fn add_phrase(&mut self, ids: Vec<u32>) -> usize {
        self.phrases.iter().position(|known| *known == ids).unwrap_or_else(|| {
            self.phrases.push(ids);
            self.phrases.len() - 1
        })
    }

    fn body_length(&self, phrase: usize) -> usize {
        self.phrases[phrase].len() - 2
    }

    /// The sentence and its parts were tokenized apart; a correction must meet the token that it was made from.
    fn check(&self) -> Result<()> {
        let body = &self.sentence[1..self.sentence.len() - 1];
        for (position, place) in self.sequence.iter().enumerate() {
            let token = match place {
                Place::Node(node) => self.nodes[*node],
                Place::Edge(edge) => self.edges[*edge].token,
            };
            let id = self.phrases[token.phrase][1 + token.position];
            if body.get(position) != Some(&id) {
                return Err(Error::Graph(format!(
                    "token {position} of the sentence is {:?}, but its triples make it {id}; \
                     the sentence is not cut into tokens as its parts are",
                    body.get(position)
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{EOS_TOKEN, Vocabulary};

    fn tokenizer() -> Tokenizer {
        let corpus = ["a big red circle left of a blue square under the green star"];
        Tokenizer::from_vocabulary(&Vocabulary::train(corpus, 700).unwrap(), EOS_TOKEN).unwrap()
    }

    fn graph(triples: &[[&str; 3]], isolated: &[&str]) -> GraphText {
        GraphText {
            triples: triples.iter().map(|triple| triple.map(str::to_owned)).collect(),
            isolated: isolated.iter().map(|&item| item.to_owned()).collect(),
        }
    }

    #[test]
    fn the_sentence_is_the_references() {
        let graph = graph(&[["red circle", "left of", "square"], ["square", "under", "star"]], &["big star"]);
        assert_eq!(graph.sentence(), "red circle left of square square under star big star");
        assert_eq!(GraphText::default().sentence(), "");
    }

    #[test]
    fn tokens_point_to_their_head_and_relations_join_heads() {
        let graph = graph(&[["red circle", "left of", "big blue square"]], &["star"]);
        let tokens = GraphTokens::prepare(&graph, &tokenizer()).unwrap();
        // ns = 2, np = 2, no = 3: nodes 5, edges 1 + 2 + 2.
        assert_eq!((tokens.nodes.len(), tokens.edges.len()), (5, 5));
        let ends: Vec<_> = tokens.edges.iter().map(|edge| (edge.source, edge.target, edge.token.phrase == 0)).collect();
        assert_eq!(ends, [(0, 1, true), (2, 4, true), (3, 4, true), (1, 4, false), (1, 4, false)]);
        use Place::{Edge, Node};
        assert_eq!(tokens.sequence, [Node(0), Node(1), Edge(3), Edge(4), Node(2), Node(3), Node(4)]);
        assert_eq!(tokens.sentence.len(), 2 + 7 + 1);
    }

    #[test]
    fn long_graphs_are_cut_and_empty_ones_stay() {
        let tokenizer = tokenizer();
        let many = vec![["red circle", "left of", "big blue square"]; 40];
        let tokens = GraphTokens::prepare(&graph(&many, &["star"]), &tokenizer).unwrap();
        assert_eq!((tokens.sentence.len(), tokens.sequence.len()), (77, 75));
        assert_eq!(tokens.nodes.len(), 11 * 5);

        // One phrase longer than a sequence.
        let long = "circle ".repeat(90);
        let tokens = GraphTokens::prepare(&graph(&[["star", "of", &long], ["star", "of", "star"]], &[]), &tokenizer);
        assert_eq!(tokens.unwrap().sequence.len(), 75);

        let tokens = GraphTokens::prepare(&graph(&[], &[]), &tokenizer).unwrap();
        assert_eq!((tokens.sentence.len(), tokens.sequence.len()), (2, 0));
    }

    #[test]
    fn strange_words_keep_the_guard_quiet() {
        let tokenizer = tokenizer();
        let texts =
            ["zebra's 3rd", "été", "日本 🦊", "don't-walk", "<|endoftext|>", "\u{200b}", "Ä  B\tc", "\u{301}x", "!"];
        for text in texts {
            let graph = graph(&[[text, "next to", "the  Star"], ["star", text, text]], &[text]);
            GraphTokens::prepare(&graph, &tokenizer).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        }
        assert!(matches!(GraphTokens::prepare(&graph(&[[" ", "of", "star"]], &[]), &tokenizer), Err(Error::Graph(_))));
    }
}
