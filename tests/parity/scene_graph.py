"""LAION-SG's scene-graph encoder of one graph, token by token, as arXiv 2412.08580 and its code have it."""

import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file


def make_scene_graph_encoder(folder, config, dtype, generator):
    m, h = config["embed_dim"], config["width"]
    shapes = {
        "alpha_obj": (1,),
        "projection_mlp_1.weight": (m, config["clip_dim"]),
        "projection_mlp_2.weight": (config["clip_dim"], m),
    }
    for prefix in ["graph_conv", *(f"graph_net.gconvs.{i}" for i in range(config["layers"]))]:
        shapes |= {
            f"{prefix}.net1.0.weight": (h, 3 * m), f"{prefix}.net1.0.bias": (h,),
            f"{prefix}.net1.2.weight": (2 * h + m, h), f"{prefix}.net1.2.bias": (2 * h + m,),
            f"{prefix}.net2.0.weight": (h, h), f"{prefix}.net2.0.bias": (h,),
            f"{prefix}.net2.2.weight": (m, h), f"{prefix}.net2.2.bias": (m,),
        }
    tensors = {
        name: (torch.randn(shape, generator=generator) * (0.7 if len(shape) < 2 else 1.5 / math.sqrt(shape[1]))).to(dtype)
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config) + "\n")


class SceneGraphEncoder:
    def __init__(self, folder):
        self.weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.config = json.loads((folder / "config.json").read_text())

    def linear(self, x, name):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def convolve(self, prefix, nodes, edges, links):
        h, m = self.config["width"], self.config["embed_dim"]
        triples = torch.stack([torch.cat([nodes[s], edge, nodes[o]]) for (s, o), edge in zip(links, edges)])
        hidden = self.linear(triples, f"{prefix}.net1.0").relu()
        subjects, edges, objects = self.linear(hidden, f"{prefix}.net1.2").relu().split([h, m, h], dim=1)
        pooled, counts = torch.zeros(len(nodes), h), torch.zeros(len(nodes))
        for (s, o), to_subject, to_object in zip(links, subjects, objects):
            pooled[s] += to_subject
            pooled[o] += to_object
            counts[s] += 1
            counts[o] += 1
        pooled = pooled / counts.clamp(min=1)[:, None]
        nodes = self.linear(self.linear(pooled, f"{prefix}.net2.0").relu(), f"{prefix}.net2.2").relu()
        return nodes, edges

    def __call__(self, graph, encode):
        """`encode(text)`: features `[n, d]` of all tokens, begin and end included, and pooled `[1, p]`.

        Gives `[77, d]` and the pooled features of the sentence.
        """
        sentence = "".join(f"{s} {p} {o} " for s, p, o in graph["triples"])
        sentence = (sentence + "".join(f"{item} " for item in graph["isolated"])).strip()
        states, pooled = encode(sentence)
        if graph["triples"]:
            dash = encode("-")[0][1:-1]
            assert len(dash) == 1
            nodes, edges, links, order = [], [], [], []
            for subject, predicate, object_ in graph["triples"]:
                heads = []
                for item in (subject, object_):
                    tokens = encode(item)[0][1:-1]
                    first = len(nodes)
                    head = first + len(tokens) - 1
                    nodes += list(tokens)
                    for i in range(first, head):
                        links.append((i, head))
                        edges.append(dash[0])
                    heads.append(head)
                    order.append([("node", i) for i in range(first, head + 1)])
                between = []
                for token in encode(predicate)[0][1:-1]:
                    between.append(("edge", len(edges)))
                    links.append(tuple(heads))
                    edges.append(token)
                order.insert(-1, between)
            nodes = self.linear(torch.stack(nodes), "projection_mlp_1")
            edges = self.linear(torch.stack(edges), "projection_mlp_1")
            nodes, edges = self.convolve("graph_conv", nodes, edges, links)
            for i in range(self.config["layers"]):
                nodes, edges = self.convolve(f"graph_net.gconvs.{i}", nodes, edges, links)
            outputs = {
                "node": self.linear(F.normalize(nodes, dim=1), "projection_mlp_2"),
                "edge": self.linear(F.normalize(edges, dim=1), "projection_mlp_2"),
            }
            sequence = torch.stack([outputs[kind][i] for part in order for kind, i in part])[:75]
            body = states[1:-1].clone()
            c = min(len(sequence), len(body))
            body[:c] += self.weights["alpha_obj"] * sequence[:c]
            states = torch.cat([states[:1], body, states[-1:]])
        return torch.cat([states, states[-1:].repeat(77, 1)])[:77], pooled
