//! The scene-graph encoder of SDXL-SG: features of a caption, corrected token by token by a graph network.
//!
//! Source: LAION-SG, arXiv 2412.08580, and its code (`sgEncoderTraining/sgEncoder/sg_encoder.py`); the graph
//! convolution is that of sg2im (Johnson et al. 2018, arXiv 1804.01622). The weights have the reference's names:
//! `projection_mlp_1`, `projection_mlp_2`, `graph_conv.net1.0` …, `graph_net.gconvs.0.net1.0` …, `alpha_obj`, and a
//! `logit_scale` that nothing uses.
//!
//! A node of the graph is a *token* of an item's text, encoded on its own, not in the sentence. The last token of an
//! item is its head: the others point to it, along edges whose feature is that of the text "-"; each token of a
//! relation is an edge from the subject's head to the object's. Items shared by triples are not shared here: each
//! triple is a component of its own. Isolated items are in the sentence only.
//!
//! b graphs · o nodes, e edges of all graphs together · d width of the text features · m width inside

mod features;
mod tokens;

use candle_core::{D, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::linear::Linear;
use crate::{Error, Result};

pub use features::GraphFeatures;
pub use tokens::{GraphText, GraphTokens};

/// Tokens of a conditioning, begin and end included.
pub const SEQUENCE_LENGTH: usize = 77;

/// `scene_graph_encoder/config.json`; the keys are the reference's arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SceneGraphEncoderConfig {
    /// d, the width of the text features: of both encoders of SDXL together, of the one of SD1.5.
    pub clip_dim: usize,
    /// m, the width of nodes and edges.
    pub embed_dim: usize,
    /// Width of the hidden layers of the graph convolutions, and of the messages.
    pub width: usize,
    /// Convolutions after the first.
    pub layers: usize,
    /// Keys that do not change the numbers.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Default for SceneGraphEncoderConfig {
    /// SDXL-SG as published.
    fn default() -> Self {
        Self { clip_dim: 2048, embed_dim: 512, width: 512, layers: 5, other: serde_json::Map::new() }
    }
}

/// The graph network, and the weight `alpha_obj` with which it corrects the sentence.
#[derive(Clone, Debug)]
pub struct SceneGraphEncoder {
    projection_mlp_1: Linear,
    graph_conv: GraphTripleConv,
    graph_net: Vec<GraphTripleConv>,
    projection_mlp_2: Linear,
    alpha_obj: Tensor,
}

impl SceneGraphEncoder {
    /// Names as in the reference; its unused `logit_scale` may be there.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load(vb: &VarBuilder, config: &SceneGraphEncoderConfig) -> Result<Self> {
        let (text, inner) = (config.clip_dim, config.embed_dim);
        if vb.contains_tensor("logit_scale") {
            vb.get((), "logit_scale")?;
        }
        let graph_net = vb.pp("graph_net.gconvs");
        Ok(Self {
            projection_mlp_1: Linear::load(vb.pp("projection_mlp_1"), text, inner, false)?,
            graph_conv: GraphTripleConv::load(&vb.pp("graph_conv"), config)?,
            graph_net: (0..config.layers)
                .map(|i| GraphTripleConv::load(&graph_net.pp(i), config))
                .collect::<Result<_>>()?,
            projection_mlp_2: Linear::load(vb.pp("projection_mlp_2"), inner, text, false)?,
            alpha_obj: vb.get(1, "alpha_obj")?,
        })
    }

    /// Conditioning of graphs, `encoder_hidden_states [b, 77, d]`.
    ///
    /// # Errors
    /// The features are not those of these graphs.
    pub fn forward(&self, graphs: &[GraphTokens], features: &GraphFeatures) -> Result<Tensor> {
        let (b, n, d) = features.sentences.dims3()?;
        if b != graphs.len() || n != SEQUENCE_LENGTH {
            return Err(Error::Graph(format!("features of {b} graphs for {}", graphs.len())));
        }
        // 1. one graph of all; components never touch
        let batch = Batch::new(graphs, features);
        if batch.nodes.is_empty() {
            return Ok(features.sentences.clone());
        }
        let device = features.sentences.device();
        let index = |rows: &[u32]| Tensor::from_slice(rows, rows.len(), device);
        let edges = Edges::new(&batch, &index)?;

        // 2. into the width of the network
        let project = |rows: &[u32]| self.projection_mlp_1.forward(&features.phrases.index_select(&index(rows)?, 0)?);
        let mut nodes = project(&batch.nodes)?; // [o, m]
        let mut links = match batch.edges.is_empty() {
            true => None,
            false => Some(project(&batch.edges)?), // [e, m]
        };

        // 3. graph convolutions
        for conv in std::iter::once(&self.graph_conv).chain(&self.graph_net) {
            (nodes, links) = conv.forward(&nodes, links.as_ref(), &edges)?;
        }

        // 4. out again; a row of zeros first, for positions that the graph says nothing about
        let zeros = Tensor::zeros((1, d), nodes.dtype(), device)?;
        let mut rows = vec![zeros, self.projection_mlp_2.forward(&l2_normalize(&nodes)?)?];
        if let Some(links) = links {
            rows.push(self.projection_mlp_2.forward(&l2_normalize(&links)?)?);
        }
        let corrections = Tensor::cat(&rows, 0)?.index_select(&index(&batch.places)?, 0)?; // [b 77, d]

        // 5. onto the sentence
        let corrections = corrections.broadcast_mul(&self.alpha_obj)?.reshape((b, SEQUENCE_LENGTH, d))?;
        Ok((&features.sentences + corrections)?)
    }
}

/// Many graphs as one, in numbers of rows.
struct Batch {
    /// Row of each node's feature.
    nodes: Vec<u32>,
    /// Row of each edge's feature.
    edges: Vec<u32>,
    sources: Vec<u32>,
    targets: Vec<u32>,
    /// For each position of each sentence what corrects it: 0 nothing, then the nodes, then the edges.
    places: Vec<u32>,
}

impl Batch {
    fn new(graphs: &[GraphTokens], features: &GraphFeatures) -> Self {
        let num_nodes: usize = graphs.iter().map(|graph| graph.nodes.len()).sum();
        let mut batch = Self {
            nodes: Vec::with_capacity(num_nodes),
            edges: vec![],
            sources: vec![],
            targets: vec![],
            places: vec![0; graphs.len() * SEQUENCE_LENGTH],
        };
        for (i, (graph, first_rows)) in graphs.iter().zip(&features.first_rows).enumerate() {
            // A phrase's first row is its begin token.
            let row = |token: &tokens::Token| (first_rows[token.phrase] + 1 + token.position) as u32;
            let (first_node, first_edge) = (batch.nodes.len(), batch.edges.len());
            batch.nodes.extend(graph.nodes.iter().map(row));
            batch.edges.extend(graph.edges.iter().map(|edge| row(&edge.token)));
            batch.sources.extend(graph.edges.iter().map(|edge| (first_node + edge.source) as u32));
            batch.targets.extend(graph.edges.iter().map(|edge| (first_node + edge.target) as u32));
            for (position, place) in graph.sequence.iter().enumerate() {
                batch.places[i * SEQUENCE_LENGTH + 1 + position] = 1 + match place {
                    tokens::Place::Node(node) => first_node + node,
                    tokens::Place::Edge(edge) => num_nodes + first_edge + edge,
                } as u32;
            }
        }
        batch
    }
}

/// Ends of all edges, and how many edges meet at each node.
struct Edges {
    sources: Tensor,
    targets: Tensor,
    /// `[o, 1]`, at least 1.
    counts: Tensor,
}

impl Edges {
    fn new(batch: &Batch, index: &impl Fn(&[u32]) -> candle_core::Result<Tensor>) -> Result<Self> {
        let mut counts = vec![0f32; batch.nodes.len()];
        for &node in batch.sources.iter().chain(&batch.targets) {
            counts[node as usize] += 1.;
        }
        let counts: Vec<f32> = counts.into_iter().map(|count| count.max(1.)).collect();
        let (sources, targets) = (index(&batch.sources)?, index(&batch.targets)?);
        let counts = Tensor::from_vec(counts, (batch.nodes.len(), 1), sources.device())?;
        Ok(Self { sources, targets, counts })
    }
}

/// One graph convolution: every edge sends a message to both its ends, every node takes the mean of its messages.
#[derive(Clone, Debug)]
struct GraphTripleConv {
    net1: Mlp,
    net2: Mlp,
    width: usize,
    embed_dim: usize,
}

impl GraphTripleConv {
    fn load(vb: &VarBuilder, config: &SceneGraphEncoderConfig) -> Result<Self> {
        let (width, embed_dim) = (config.width, config.embed_dim);
        Ok(Self {
            net1: Mlp::load(&vb.pp("net1"), [3 * embed_dim, width, 2 * width + embed_dim])?,
            net2: Mlp::load(&vb.pp("net2"), [width, width, embed_dim])?,
            width,
            embed_dim,
        })
    }

    /// `nodes [o, m]`, `links [e, m]` (none where there is no edge) → the same.
    fn forward(&self, nodes: &Tensor, links: Option<&Tensor>, edges: &Edges) -> Result<(Tensor, Option<Tensor>)> {
        let (o, _) = nodes.dims2()?;
        let pooled = Tensor::zeros((o, self.width), nodes.dtype(), nodes.device())?;
        let Some(links) = links else {
            return Ok((self.net2.forward(&pooled)?, None));
        };
        let sources = nodes.index_select(&edges.sources, 0)?;
        let targets = nodes.index_select(&edges.targets, 0)?;
        let messages = self.net1.forward(&Tensor::cat(&[&sources, links, &targets], 1)?)?; // [e, 2 width + m]
        let to_source = messages.narrow(1, 0, self.width)?.contiguous()?;
        let links = messages.narrow(1, self.width, self.embed_dim)?.contiguous()?;
        let to_target = messages.narrow(1, self.width + self.embed_dim, self.width)?.contiguous()?;
        let pooled = pooled.index_add(&edges.sources, &to_source, 0)?.index_add(&edges.targets, &to_target, 0)?;
        let pooled = pooled.broadcast_div(&edges.counts.to_dtype(nodes.dtype())?)?;
        Ok((self.net2.forward(&pooled)?, Some(links)))
    }
}

/// Linear, ReLU, linear, ReLU; the names are places in a torch `Sequential`.
#[derive(Clone, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
}

impl Mlp {
    fn load(vb: &VarBuilder, [input, hidden, output]: [usize; 3]) -> Result<Self> {
        Ok(Self {
            first: Linear::load(vb.pp(0), input, hidden, true)?,
            second: Linear::load(vb.pp(2), hidden, output, true)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.second.forward(&self.first.forward(x)?.relu()?)?.relu()?)
    }
}

/// x / max(‖x‖, 1e-12) by rows, as torch's `normalize`; the bound is under the root, where zero rows would else have
/// no gradient.
fn l2_normalize(x: &Tensor) -> Result<Tensor> {
    let squares = x.sqr()?.sum_keepdim(D::Minus1)?.maximum(1e-24)?;
    Ok(x.broadcast_div(&squares.sqrt()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{EOS_TOKEN, Tokenizer, Vocabulary};
    use crate::weights::{FreshParameters, VarMap};
    use candle_core::Device;

    const WIDTH: usize = 6;

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

    /// Features that tell of a token its id, its place and those before it.
    fn features(tokens: &[GraphTokens]) -> GraphFeatures {
        GraphFeatures::encode(tokens, |sequences| {
            let n = sequences[0].len();
            assert!(sequences.iter().all(|ids| ids.len() == n), "lengths are mixed");
            let mut values = Vec::new();
            for ids in sequences {
                let mut before = 0.;
                for (position, &id) in ids.iter().enumerate() {
                    before += id as f32;
                    values.extend((0..WIDTH).map(|k| (before * 0.37 + position as f32 + k as f32 * 1.7).sin()));
                }
            }
            let states = Tensor::from_vec(values, (sequences.len(), n, WIDTH), &Device::Cpu)?;
            let pooled = states.narrow(1, n - 1, 1)?.squeeze(1)?;
            Ok((states, pooled))
        })
        .unwrap()
    }

    fn encoder(alpha: f32) -> (SceneGraphEncoder, VarMap) {
        let config =
            SceneGraphEncoderConfig { clip_dim: WIDTH, embed_dim: 5, width: 4, layers: 2, ..Default::default() };
        let (mut encoder, vars) =
            FreshParameters::build(3, &Device::Cpu, |vb| SceneGraphEncoder::load(&vb, &config)).unwrap();
        // Some units of so small a network would be dead with every edge; lift them.
        for (name, var) in &vars {
            if name.ends_with("bias") {
                var.set(&(var.ones_like().unwrap() * 0.3).unwrap()).unwrap();
            }
        }
        vars["alpha_obj"].set(&Tensor::new(&[alpha], &Device::Cpu).unwrap()).unwrap();
        encoder.alpha_obj = vars["alpha_obj"].as_tensor().clone();
        (encoder, vars)
    }

    fn rows(x: &Tensor) -> Vec<Vec<Vec<f32>>> {
        x.to_vec3().unwrap()
    }

    #[test]
    fn corrects_the_tokens_of_triples_alone_and_repeats_the_end() {
        let tokenizer = tokenizer();
        let graph = graph(&[["red circle", "left of", "big blue square"]], &["green star"]);
        let tokens = [GraphTokens::prepare(&graph, &tokenizer).unwrap()];
        let features = features(&tokens);
        let (encoder, _) = encoder(0.5);
        let output = encoder.forward(&tokens, &features).unwrap();
        assert_eq!(output.dims(), [1, 77, WIDTH]);
        let (output, sentence) = (rows(&output), rows(&features.sentences));
        // begin · 2 + 2 + 3 tokens of the triple · 2 of the isolated item · end
        for position in 0..77 {
            let corrected = output[0][position] != sentence[0][position];
            assert_eq!(corrected, (1..8).contains(&position), "{position}");
        }
        assert!((10..77).all(|position| output[0][position] == sentence[0][10]));
        let (silent, _) = self::encoder(0.);
        assert_eq!(rows(&silent.forward(&tokens, &features).unwrap()), sentence);
    }

    #[test]
    fn a_graph_does_not_feel_its_neighbours() {
        let tokenizer = tokenizer();
        let texts = [
            graph(&[["red circle", "left of", "square"], ["star", "under", "red circle"]], &[]),
            graph(&[], &[]),
            graph(&[], &["blue star"]),
            graph(&[["red circle", "of", "star"]], &["a square"]),
        ];
        let tokens: Vec<_> = texts.iter().map(|text| GraphTokens::prepare(text, &tokenizer).unwrap()).collect();
        let (encoder, _) = encoder(1.);
        let together = rows(&encoder.forward(&tokens, &features(&tokens)).unwrap());
        for (i, one) in tokens.into_iter().enumerate() {
            let alone = [one];
            assert_eq!(rows(&encoder.forward(&alone, &features(&alone)).unwrap())[0], together[i], "graph {i}");
        }
    }

    #[test]
    fn every_parameter_learns() {
        let tokenizer = tokenizer();
        let graph = graph(&[["big red circle", "left of", "blue square"]], &[]);
        let tokens = [GraphTokens::prepare(&graph, &tokenizer).unwrap()];
        let (encoder, vars) = encoder(1.);
        let output = encoder.forward(&tokens, &features(&tokens)).unwrap();
        let gradients = (output.sqr().unwrap().sum_all().unwrap()).backward().unwrap();
        assert_eq!(vars.len(), 3 + 3 * 8);
        for (name, var) in &vars {
            let gradient = gradients.get(var.as_tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
            let largest: f32 = gradient.abs().unwrap().max_all().unwrap().to_scalar().unwrap();
            assert!(largest > 0. && largest.is_finite(), "{name}: {largest}");
        }
    }

    /// One convolution by hand: o = 2, e = 1, all widths 1, all weights 1, biases 0.
    #[test]
    fn a_convolution_by_hand() {
        let config = SceneGraphEncoderConfig { clip_dim: 1, embed_dim: 1, width: 1, layers: 0, ..Default::default() };
        let (conv, vars) = FreshParameters::build(0, &Device::Cpu, |vb| GraphTripleConv::load(&vb, &config)).unwrap();
        for (name, var) in &vars {
            let value = if name.ends_with("weight") { 1. } else { 0. };
            var.set(&(var.ones_like().unwrap() * value).unwrap()).unwrap();
        }
        let device = &Device::Cpu;
        let nodes = Tensor::new(&[[1f32], [2.]], device).unwrap();
        let links = Tensor::new(&[[4f32]], device).unwrap();
        let edges = Edges {
            sources: Tensor::new(&[0u32], device).unwrap(),
            targets: Tensor::new(&[1u32], device).unwrap(),
            counts: Tensor::new(&[[1f32], [1.]], device).unwrap(),
        };
        let (nodes, links) = conv.forward(&nodes, Some(&links), &edges).unwrap();
        // 1 + 4 + 2 = 7, to each of the three parts; then through two more layers of weight 1.
        assert_eq!(nodes.to_vec2::<f32>().unwrap(), [[7.], [7.]]);
        assert_eq!(links.unwrap().to_vec2::<f32>().unwrap(), [[7.]]);
    }

    #[test]
    fn the_published_size() {
        let config = SceneGraphEncoderConfig::default();
        let (_, vars) = FreshParameters::build(0, &Device::Cpu, |vb| SceneGraphEncoder::load(&vb, &config)).unwrap();
        let trained: usize = vars.values().map(|var| var.elem_count()).sum();
        assert_eq!(trained + 1, 14_698_498, "with the logit scale, which nothing uses");
    }
}
