import { describe, expect, it } from "vitest";
import { connectedParts, edgePath, layoutGraph, type PlacedGraph, type Sizes } from "./graph-layout";

const SIZES: Sizes = {
  node: () => ({ width: 60, height: 30 }),
  label: ({ predicate }) => ({ width: predicate.length * 6, height: 12 }),
  nodeGap: 10,
  rankGap: 10,
  box: { width: 600, height: 400 },
};

const objects = (count: number) => Array.from({ length: count }, (_, position) => ({ position, label: `thing ${position}`, attributes: [] }));

function overlaps(graph: PlacedGraph): number {
  let count = 0;
  for (const a of graph.nodes) {
    for (const b of graph.nodes) {
      if (a.index < b.index && Math.abs(a.x - b.x) < 59 && Math.abs(a.y - b.y) < 29) count += 1;
    }
  }
  return count;
}

describe("connectedParts", () => {
  it("puts the largest part first and keeps nodes without relations", () => {
    const parts = connectedParts(5, [
      { subject: 3, object: 1 },
      { subject: 1, object: 4 },
    ]);
    expect(parts.map((part) => part.length)).toEqual([3, 1, 1]);
    expect(parts[0]).toEqual([1, 3, 4]);
  });
});

describe("layoutGraph", () => {
  it("lays out nothing as nothing", () => {
    expect(layoutGraph([], [], SIZES)).toEqual({ nodes: [], edges: [], width: 0, height: 0 });
  });

  it("places every node inside the drawing, without overlap, from 1 to 40 nodes", () => {
    for (const count of [1, 2, 5, 12, 40]) {
      const relations = objects(count)
        .slice(1)
        .filter(({ position }) => position % 4 !== 0)
        .map(({ position }) => ({ subject: Math.floor(position / 2), predicate: "near", object: position }));
      const graph = layoutGraph(objects(count), relations, SIZES);
      expect(graph.nodes.map(({ index }) => index)).toEqual(objects(count).map(({ position }) => position));
      expect(graph.edges).toHaveLength(relations.length);
      for (const { x, y, width, height } of graph.nodes) {
        expect(x - width / 2).toBeGreaterThanOrEqual(-0.01);
        expect(y - height / 2).toBeGreaterThanOrEqual(-0.01);
        expect(x + width / 2).toBeLessThanOrEqual(graph.width + 0.01);
        expect(y + height / 2).toBeLessThanOrEqual(graph.height + 0.01);
      }
      expect(overlaps(graph)).toBe(0);
    }
  });

  it("keeps two relations between the same objects, a cycle and a relation to itself", () => {
    const relations = [
      { subject: 0, predicate: "on", object: 1 },
      { subject: 0, predicate: "near", object: 1 },
      { subject: 1, predicate: "under", object: 0 },
      { subject: 1, predicate: "is", object: 1 },
    ];
    const graph = layoutGraph(objects(2), relations, SIZES);
    expect(graph.edges.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    for (const edge of graph.edges) expect(edge.points.length).toBeGreaterThan(1);
  });

  it("runs a long chain across a wide box", () => {
    const relations = objects(8).slice(1).map(({ position }) => ({ subject: position - 1, predicate: "on", object: position }));
    const graph = layoutGraph(objects(8), relations, { ...SIZES, box: { width: 900, height: 120 } });
    expect(graph.width).toBeGreaterThan(graph.height);
  });
});

describe("edgePath", () => {
  it("starts and ends where the edge does", () => {
    const path = edgePath([
      { x: 0, y: 0 },
      { x: 10, y: 5 },
      { x: 20, y: 20 },
      { x: 30, y: 30.04 },
    ]);
    expect(path.startsWith("M0,0")).toBe(true);
    expect(path.endsWith("30,30")).toBe(true);
  });
});
