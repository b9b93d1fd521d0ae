//! A part of a scene graph to be looked for: "a red thing left of a blue thing".
//!
//! As text: `(*{red})-[left of]->(*{blue})`, several parts joined by `;`. A node is `(LABEL{ATTRIBUTE, …})`; `*` or nothing
//! stands for any label, and a node named as in `(a:dog)` is the same thing wherever `(a)` stands again. An edge is
//! `-[PREDICATE]->`; `*` stands for any. Words in plain English are read by [`Pattern::of_phrase`].

use crate::prompt;

/// Nodes and edges of a pattern; a larger one is nobody's question.
const MOST_NODES: usize = 6;
/// Labels that stand for anything, in a phrase.
const ANYTHING: &[&str] = &["thing", "object", "something", "anything", "item"];

/// An object that is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternNode {
    /// `None`: any.
    pub label: Option<String>,
    /// All of them.
    pub attributes: Vec<String>,
}

/// Objects that are different things, and relations between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    pub nodes: Vec<PatternNode>,
    /// Subject, predicate (`None`: any) and object; the ends are positions in `nodes`.
    pub edges: Vec<(usize, Option<String>, usize)>,
}

impl Pattern {
    /// Reads the notation of arrows and braces.
    ///
    /// # Errors
    /// What is wrong, in words, with the place as a count of characters.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0, names: Vec::new(), pattern: Self::default() };
        loop {
            let mut subject = reader.node()?;
            while reader.take("-[") {
                let predicate = reader.until("]->")?.trim().to_owned();
                let object = reader.node()?;
                if subject == object {
                    return Err(format!("a thing has no relation to itself (at character {})", reader.place()));
                }
                let predicate = Some(predicate).filter(|words| !words.is_empty() && words != "*");
                reader.pattern.edges.push((subject, predicate, object));
                subject = object;
            }
            if !reader.take(";") {
                break;
            }
        }
        reader.blanks();
        if reader.at < text.len() {
            return Err(format!("`;`, `-[…]->` or the end is expected at character {}", reader.place()));
        }
        Ok(reader.pattern)
    }

    /// Reads plain words, such as "a red thing left of a blue dog".
    ///
    /// # Errors
    /// Where they name nothing, or too much.
    pub fn of_phrase(phrase: &str) -> Result<Self, String> {
        let scene = prompt::parse(phrase);
        let nodes: Vec<PatternNode> = scene
            .objects
            .into_iter()
            .map(|object| PatternNode {
                label: Some(object.label).filter(|label| !ANYTHING.contains(&label.as_str())),
                attributes: object.attributes,
            })
            .collect();
        if nodes.is_empty() {
            return Err("no thing is named in it".to_owned());
        }
        if nodes.len() > MOST_NODES {
            return Err(format!("it names {} things; at most {MOST_NODES} are looked for", nodes.len()));
        }
        let edges =
            scene.relations.into_iter().map(|(subject, words, object)| (subject, Some(words), object)).collect();
        Ok(Self { nodes, edges })
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    names: Vec<(String, usize)>,
    pattern: Pattern,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn place(&self) -> usize {
        self.text.get(..self.at).unwrap_or_default().chars().count() + 1
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.blanks();
        let there = self.rest().starts_with(sign);
        self.at += if there { sign.len() } else { 0 };
        there
    }

    fn until(&mut self, sign: &str) -> Result<String, String> {
        let length =
            self.rest().find(sign).ok_or_else(|| format!("`{sign}` is missing after character {}", self.place()))?;
        let found = self.rest()[..length].to_owned();
        self.at += length + sign.len();
        Ok(found)
    }

    /// The position of the node that stands here.
    fn node(&mut self) -> Result<usize, String> {
        if !self.take("(") {
            return Err(format!("`(` is expected at character {}", self.place()));
        }
        let inside = self.until(")")?;
        let (head, attributes) = match inside.split_once('{') {
            None => (inside.as_str(), ""),
            Some((head, rest)) => {
                (head, rest.trim_end().strip_suffix('}').ok_or_else(|| format!("`}}` is missing in ({inside})"))?)
            }
        };
        let (name, label) = match head.split_once(':') {
            None => (None, head.trim()),
            Some((name, label)) => (Some(name.trim()), label.trim()),
        };
        let known = |name: &str| self.names.iter().find(|(known, _)| known == name).map(|(_, place)| *place);
        if let (None, Some(place), "") = (name, known(label), attributes) {
            return Ok(place);
        }
        if self.pattern.nodes.len() == MOST_NODES {
            return Err(format!("at most {MOST_NODES} things are looked for"));
        }
        let place = self.pattern.nodes.len();
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            if known(name).is_some() {
                return Err(format!("{name:?} is named twice; say ({name}) the second time"));
            }
            self.names.push((name.to_owned(), place));
        }
        self.pattern.nodes.push(PatternNode {
            label: Some(label.to_owned()).filter(|label| !label.is_empty() && label != "*"),
            attributes: attributes
                .split(',')
                .map(|word| word.trim().to_owned())
                .filter(|word| !word.is_empty())
                .collect(),
        });
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(label: &str, attributes: &[&str]) -> PatternNode {
        PatternNode {
            label: Some(label.to_owned()).filter(|label| !label.is_empty()),
            attributes: attributes.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    #[test]
    fn arrows_and_words_say_the_same() {
        let expected = Pattern {
            nodes: vec![node("", &["red"]), node("", &["blue"])],
            edges: vec![(0, Some("left of".to_owned()), 1)],
        };
        assert_eq!(Pattern::parse("(*{red})-[left of]->(*{blue})").unwrap(), expected);
        assert_eq!(Pattern::of_phrase("a red thing left of a blue thing").unwrap(), expected);
    }

    #[test]
    fn a_name_is_one_thing() {
        let pattern = Pattern::parse("(a:dog)-[on]->(mat{old, red}) ; (a)-[*]->(cat)").unwrap();
        assert_eq!(pattern.nodes, [node("dog", &[]), node("mat", &["old", "red"]), node("cat", &[])]);
        assert_eq!(pattern.edges, [(0, Some("on".to_owned()), 1), (0, None, 2)]);
    }

    #[test]
    fn faults_have_a_place() {
        for (text, expected) in [
            ("", "`(` is expected at character 1"),
            ("(dog", "`)` is missing after character 2"),
            ("(dog)-[on](cat)", "`]->` is missing after character 8"),
            ("(dog) cat", "`;`, `-[…]->` or the end is expected at character 7"),
            ("(dog{red)", "`}` is missing in (dog{red)"),
            ("(a:dog)-[on]->(a)", "a thing has no relation to itself (at character 18)"),
            ("(a:dog);(a:cat)", "\"a\" is named twice; say (a) the second time"),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err(), expected);
        }
        assert!(Pattern::of_phrase("").is_err());
    }
}
