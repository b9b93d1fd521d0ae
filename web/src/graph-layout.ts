/** Where the nodes and edges of a scene graph lie: dagre for each connected part, the parts packed into rows. */
import { Graph, layout as runDagre } from "@dagrejs/dagre";
import type { SceneObject, SceneRelation } from "./api/types";

export interface PlacedNode {
  index: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface PlacedEdge {
  index: number;
  subject: number;
  object: number;
  points: { x: number; y: number }[];
  label: { x: number; y: number; width: number; height: number };
}

export interface PlacedGraph {
  nodes: PlacedNode[];
  edges: PlacedEdge[];
  width: number;
  height: number;
}

export interface Sizes {
  node: (object: SceneObject) => { width: number; height: number };
  label: (relation: SceneRelation) => { width: number; height: number };
  nodeGap: number;
  rankGap: number;
  /** The box that the drawing is for: the direction of the ranks and the packing of parts are chosen to fill it. */
  box: { width: number; height: number };
}

/** Indices of the nodes of each connected part, largest part first. */
export function connectedParts(count: number, relations: Pick<SceneRelation, "subject" | "object">[]): number[][] {
  const parent = Array.from({ length: count }, (_, i) => i);
  const find = (i: number): number => {
    let root = i;
    while (parent[root] !== root) root = parent[root] as number;
    parent[i] = root;
    return root;
  };
  for (const { subject, object } of relations) {
    if (subject < count && object < count) parent[find(subject)] = find(object);
  }
  const parts = new Map<number, number[]>();
  for (let i = 0; i < count; i += 1) {
    const root = find(i);
    const part = parts.get(root);
    if (part) part.push(i);
    else parts.set(root, [i]);
  }
  return [...parts.values()].sort((a, b) => b.length - a.length);
}

type Direction = "TB" | "LR";

function layoutPart(part: number[], objects: SceneObject[], relations: SceneRelation[], sizes: Sizes, direction: Direction): PlacedGraph {
  const inside = new Set(part);
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: direction, nodesep: sizes.nodeGap, ranksep: sizes.rankGap, edgesep: sizes.nodeGap / 2, marginx: 0, marginy: 0 });
  for (const index of part) graph.setNode(String(index), { ...sizes.node(objects[index] as SceneObject) });
  relations.forEach((relation, index) => {
    if (!inside.has(relation.subject) || !inside.has(relation.object)) return;
    graph.setEdge(String(relation.subject), String(relation.object), { ...sizes.label(relation), labelpos: "c" }, String(index));
  });
  runDagre(graph);
  const nodes = part.map((index) => {
    const { x = 0, y = 0, width = 0, height = 0 } = graph.node(String(index));
    return { index, x, y, width, height };
  });
  const edges = graph.edges().map((edge): PlacedEdge => {
    const placed = graph.edge(edge);
    const index = Number(edge.name);
    const { width, height } = sizes.label(relations[index] as SceneRelation);
    return {
      index,
      subject: Number(edge.v),
      object: Number(edge.w),
      points: (placed.points ?? []).map(({ x, y }: { x: number; y: number }) => ({ x, y })),
      label: { x: placed.x ?? 0, y: placed.y ?? 0, width, height },
    };
  });
  return shiftToOrigin({ nodes, edges, width: 0, height: 0 });
}

function shiftToOrigin(graph: PlacedGraph): PlacedGraph {
  let left = Infinity;
  let top = Infinity;
  let right = -Infinity;
  let bottom = -Infinity;
  const take = (x: number, y: number, width = 0, height = 0) => {
    left = Math.min(left, x - width / 2);
    right = Math.max(right, x + width / 2);
    top = Math.min(top, y - height / 2);
    bottom = Math.max(bottom, y + height / 2);
  };
  for (const node of graph.nodes) take(node.x, node.y, node.width, node.height);
  for (const edge of graph.edges) {
    take(edge.label.x, edge.label.y, edge.label.width, edge.label.height);
    for (const point of edge.points) take(point.x, point.y);
  }
  return { ...translate(graph, -left, -top), width: right - left, height: bottom - top };
}

function translate(graph: PlacedGraph, dx: number, dy: number): PlacedGraph {
  return {
    ...graph,
    nodes: graph.nodes.map((node) => ({ ...node, x: node.x + dx, y: node.y + dy })),
    edges: graph.edges.map((edge) => ({
      ...edge,
      points: edge.points.map(({ x, y }) => ({ x: x + dx, y: y + dy })),
      label: { ...edge.label, x: edge.label.x + dx, y: edge.label.y + dy },
    })),
  };
}

/** How much a drawing may be enlarged inside the box, at most 1. */
const fit = (graph: PlacedGraph, { width, height }: Sizes["box"]): number =>
  Math.min(1, width / Math.max(graph.width, 1), height / Math.max(graph.height, 1));

/** Top to bottom, or left to right where that leaves the words larger. */
export function layoutGraph(objects: SceneObject[], relations: SceneRelation[], sizes: Sizes): PlacedGraph {
  const down = packParts(objects, relations, sizes, "TB");
  if (fit(down, sizes.box) === 1) return down;
  const across = packParts(objects, relations, sizes, "LR");
  return fit(across, sizes.box) > fit(down, sizes.box) * 1.05 ? across : down;
}

/** Shelf packing: parts in rows no wider than the box's proportions ask for (or than the widest part). */
function packParts(objects: SceneObject[], relations: SceneRelation[], sizes: Sizes, direction: Direction): PlacedGraph {
  const parts = connectedParts(objects.length, relations).map((part) => layoutPart(part, objects, relations, sizes, direction));
  if (parts.length === 0) return { nodes: [], edges: [], width: 0, height: 0 };
  const gap = sizes.nodeGap * 1.5;
  const area = parts.reduce((sum, part) => sum + (part.width + gap) * (part.height + gap), 0);
  const limit = Math.max(Math.sqrt((area * sizes.box.width) / sizes.box.height), ...parts.map((part) => part.width));
  const result: PlacedGraph = { nodes: [], edges: [], width: 0, height: 0 };
  let x = 0;
  let y = 0;
  let rowHeight = 0;
  for (const part of parts) {
    if (x > 0 && x + part.width > limit) {
      x = 0;
      y += rowHeight + gap;
      rowHeight = 0;
    }
    const placed = translate(part, x, y);
    result.nodes.push(...placed.nodes);
    result.edges.push(...placed.edges);
    x += part.width + gap;
    rowHeight = Math.max(rowHeight, part.height);
    result.width = Math.max(result.width, x - gap);
    result.height = Math.max(result.height, y + rowHeight);
  }
  result.nodes.sort((a, b) => a.index - b.index);
  result.edges.sort((a, b) => a.index - b.index);
  return result;
}

/** A smooth path through dagre's points (quadratic curves through the midpoints), as SVG path data. */
export function edgePath(points: { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  if (!first) return "";
  const at = ({ x, y }: { x: number; y: number }) => `${round(x)},${round(y)}`;
  if (rest.length < 2) return `M${at(first)}${rest.map((point) => `L${at(point)}`).join("")}`;
  let path = `M${at(first)}`;
  for (let i = 0; i < rest.length - 1; i += 1) {
    const control = rest[i] as { x: number; y: number };
    const next = rest[i + 1] as { x: number; y: number };
    const end = i === rest.length - 2 ? next : { x: (control.x + next.x) / 2, y: (control.y + next.y) / 2 };
    path += `Q${at(control)} ${at(end)}`;
  }
  return path;
}

const round = (value: number): number => Math.round(value * 10) / 10;
