/** A scene graph drawn: small and still on a card, large with pan, zoom and hover on its own page. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { SceneObject, SceneRelation } from "../api/types";
import { edgePath, layoutGraph, type PlacedGraph, type Sizes } from "../graph-layout";
import type { Focus, Lit } from "../question-tree";
import { useWheelZoom } from "../wheel-zoom";
import { Icon } from "./icon";
import { swatchOf } from "./swatch";

/** Widths are estimated, so that the layout needs no canvas and is the same everywhere (and in tests). */
const textWidth = (text: string, size: number): number => text.length * size * 0.6;

const clip = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

const attributeLine = (object: SceneObject): string => clip(object.attributes.join(", "), 30);
const labelLine = (object: SceneObject): string => clip(object.label || "object", 24);
const relationLine = (relation: SceneRelation): string => clip(relation.predicate, 24);

export const FULL_SIZES: Sizes = {
  node: (object) => {
    const swatch = swatchOf(object.attributes) ? 18 : 0;
    const width = Math.max(textWidth(labelLine(object), 14) + swatch, textWidth(attributeLine(object), 11.5)) + 30;
    return { width: Math.max(76, width), height: object.attributes.length > 0 ? 50 : 36 };
  },
  label: (relation) => ({ width: textWidth(relationLine(relation), 12) + 18, height: 22 }),
  nodeGap: 26,
  rankGap: 26,
  box: { width: 600, height: 360 },
};

/** Past this many objects a card shows dots instead of words. */
const CARD_WORDS = 6;

const CARD_SIZES: Sizes = {
  node: (object) => ({ width: Math.max(44, textWidth(clip(object.label, 14), 12) + (swatchOf(object.attributes) ? 16 : 0) + 18), height: 26 }),
  label: (relation) => ({ width: textWidth(clip(relation.predicate, 16), 10) + 10, height: 15 }),
  nodeGap: 16,
  rankGap: 10,
  box: { width: 238, height: 124 },
};
const DOT_SIZES: Sizes = {
  node: () => ({ width: 16, height: 16 }),
  label: () => ({ width: 1, height: 1 }),
  nodeGap: 14,
  rankGap: 16,
  box: { width: 238, height: 124 },
};

function Arrowhead({ id, size = 7 }: { id: string; size?: number }) {
  return (
    <marker id={id} viewBox="0 0 8 8" refX="7" refY="4" markerWidth={size} markerHeight={size} orient="auto-start-reverse">
      <path d="M0.5 0.8 7.2 4 0.5 7.2z" class="graph-arrow" />
    </marker>
  );
}

/** Where a graph's nodes go on its card: reckoned once a graph, since cards come and go while one scrolls. */
const cardLayouts = new WeakMap<SceneObject[], PlacedGraph>();

export function layoutOnCard(objects: SceneObject[], relations: SceneRelation[]): PlacedGraph {
  const known = cardLayouts.get(objects);
  if (known) return known;
  const placed = layoutGraph(objects, relations, objects.length <= CARD_WORDS ? CARD_SIZES : DOT_SIZES);
  cardLayouts.set(objects, placed);
  return placed;
}

/** The graph on a card: no interaction, its words readable to screen readers by the caption beside it. */
export function GraphThumbnail({ objects, relations }: { objects: SceneObject[]; relations: SceneRelation[] }) {
  const words = objects.length <= CARD_WORDS;
  const placed = layoutOnCard(objects, relations);
  const pad = 6;
  // Never enlarged: a graph of one node keeps the size of its words.
  const width = Math.max(placed.width + 2 * pad, 250);
  const height = Math.max(placed.height + 2 * pad, 136);
  return (
    <svg
      class="graph-thumbnail"
      viewBox={`${(placed.width - width) / 2} ${(placed.height - height) / 2} ${width} ${height}`}
      aria-hidden="true"
    >
      <defs>
        <Arrowhead id="card-arrow" size={5} />
      </defs>
      {placed.edges.map((edge) => (
        <path key={edge.index} d={edgePath(edge.points)} class="graph-edge" marker-end={words ? "url(#card-arrow)" : undefined} />
      ))}
      {words &&
        placed.edges.map((edge) => (
          <g key={edge.index} transform={`translate(${edge.label.x} ${edge.label.y})`}>
            <rect
              class="graph-edge-label"
              x={-edge.label.width / 2}
              y={-edge.label.height / 2}
              width={edge.label.width}
              height={edge.label.height}
              rx={edge.label.height / 2}
            />
            <text class="graph-edge-text" font-size="10" text-anchor="middle" dy="3.4">
              {clip((relations[edge.index] as SceneRelation).predicate, 16)}
            </text>
          </g>
        ))}
      {placed.nodes.map((node) => {
        const object = objects[node.index] as SceneObject;
        const swatch = swatchOf(object.attributes);
        if (!words) return <circle key={node.index} cx={node.x} cy={node.y} r="6" class="graph-dot" style={swatch ? { fill: swatch } : undefined} />;
        return (
          <g key={node.index} transform={`translate(${node.x} ${node.y})`}>
            <rect class="graph-node" x={-node.width / 2} y={-node.height / 2} width={node.width} height={node.height} rx="8" />
            {swatch && <circle cx={-node.width / 2 + 14} r="4.5" fill={swatch} class="graph-swatch" />}
            <text class="graph-node-text" font-size="12" text-anchor="middle" x={swatch ? 7 : 0} dy="4.2">
              {clip(object.label, 14)}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

interface View {
  x: number;
  y: number;
  /** Screen pixels per drawing unit. */
  scale: number;
}

function fitView(placed: PlacedGraph, width: number, height: number): View {
  const pad = 26;
  const scale = Math.min(1.25, (width - 2 * pad) / Math.max(placed.width, 1), (height - 2 * pad) / Math.max(placed.height, 1));
  return { scale, x: (width - placed.width * scale) / 2, y: (height - placed.height * scale) / 2 };
}

export function GraphView({
  objects,
  relations,
  lit,
  onFocus,
  height = 420,
}: {
  objects: SceneObject[];
  relations: SceneRelation[];
  lit: Lit | null;
  onFocus: (focus: Focus | null) => void;
  height?: number;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  // In steps, so that the layout does not jump at every pixel of a resize.
  const space = Math.round((width || 600) / 100) * 100;
  const placed = useMemo(
    () => layoutGraph(objects, relations, { ...FULL_SIZES, box: { width: space - 52, height: height - 52 } }),
    [objects, relations, space, height],
  );
  const [view, setView] = useState<View | null>(null);
  const drag = useRef<{ x: number; y: number } | null>(null);

  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    setWidth(element.clientWidth);
    return () => observer.disconnect();
  }, []);

  useEffect(() => setView(null), [placed, width, height]);
  const shown = view ?? fitView(placed, width || 600, height);

  const zoom = (factor: number, centerX = (width || 600) / 2, centerY = height / 2) => {
    const scale = Math.max(0.15, Math.min(3, shown.scale * factor));
    const ratio = scale / shown.scale;
    setView({ scale, x: centerX - (centerX - shown.x) * ratio, y: centerY - (centerY - shown.y) * ratio });
  };

  useWheelZoom(frame, (factor, event) => {
    const box = frame.current?.getBoundingClientRect();
    if (box) zoom(factor, event.clientX - box.left, event.clientY - box.top);
  });

  const nodeClass = (index: number) => (lit ? (lit.objects.has(index) ? "lit" : "dim") : "");
  const edgeClass = (index: number) => (lit ? (lit.relations.has(index) ? "lit" : "dim") : "");
  const hover = (focus: Focus) => ({
    onPointerEnter: () => onFocus(focus),
    onPointerLeave: () => onFocus(null),
    onFocus: () => onFocus(focus),
    onBlur: () => onFocus(null),
    tabIndex: 0,
  });

  return (
    <div class="graph-frame" ref={frame} style={{ height }}>
      <svg
        width="100%"
        height={height}
        role="group"
        aria-label={`Scene graph with ${objects.length} objects and ${relations.length} relations`}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          drag.current = { x: event.clientX - shown.x, y: event.clientY - shown.y };
          event.currentTarget.setPointerCapture(event.pointerId);
        }}
        onPointerMove={(event) => {
          if (drag.current) setView({ ...shown, x: event.clientX - drag.current.x, y: event.clientY - drag.current.y });
        }}
        onPointerUp={() => {
          drag.current = null;
        }}
        onKeyDown={(event) => {
          const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
          if (step) {
            event.preventDefault();
            setView({ ...shown, x: shown.x + (step[0] ?? 0), y: shown.y + (step[1] ?? 0) });
          } else if (event.key === "+" || event.key === "=") zoom(1.25);
          else if (event.key === "-") zoom(0.8);
          else if (event.key === "0") setView(null);
        }}
      >
        <defs>
          <Arrowhead id="full-arrow" />
        </defs>
        <g transform={`translate(${shown.x} ${shown.y}) scale(${shown.scale})`}>
          {placed.edges.map((edge) => (
            <path
              key={edge.index}
              d={edgePath(edge.points)}
              class={`graph-edge ${edgeClass(edge.index)}`}
              marker-end="url(#full-arrow)"
            />
          ))}
          {placed.edges.map((edge) => {
            const relation = relations[edge.index] as SceneRelation;
            return (
              <g
                key={edge.index}
                class={`graph-part ${edgeClass(edge.index)}`}
                transform={`translate(${edge.label.x} ${edge.label.y})`}
                role="img"
                aria-label={`${objects[relation.subject]?.label} ${relation.predicate} ${objects[relation.object]?.label}`}
                {...hover({ relation: edge.index })}
              >
                <rect
                  class="graph-edge-label"
                  x={-edge.label.width / 2}
                  y={-edge.label.height / 2}
                  width={edge.label.width}
                  height={edge.label.height}
                  rx={edge.label.height / 2}
                />
                <text class="graph-edge-text" font-size="12" text-anchor="middle" dy="4">
                  {relationLine(relation)}
                </text>
              </g>
            );
          })}
          {placed.nodes.map((node) => {
            const object = objects[node.index] as SceneObject;
            const swatch = swatchOf(object.attributes);
            const two = object.attributes.length > 0;
            return (
              <g
                key={node.index}
                class={`graph-part ${nodeClass(node.index)}`}
                transform={`translate(${node.x} ${node.y})`}
                role="img"
                aria-label={[...object.attributes, object.label].join(" ")}
                {...hover({ object: node.index })}
              >
                <rect
                  class="graph-node"
                  x={-node.width / 2}
                  y={-node.height / 2}
                  width={node.width}
                  height={node.height}
                  rx="11"
                />
                {swatch && (
                  <circle
                    class="graph-swatch"
                    cx={-(textWidth(labelLine(object), 14) + 18) / 2 + 6}
                    cy={two ? -8 : 0}
                    r="5.5"
                    fill={swatch}
                  />
                )}
                <text class="graph-node-text" font-size="14" text-anchor="middle" x={swatch ? 9 : 0} y={two ? -3 : 5}>
                  {labelLine(object)}
                </text>
                {two && (
                  <text class="graph-node-attributes" font-size="11.5" text-anchor="middle" y="15">
                    {attributeLine(object)}
                  </text>
                )}
              </g>
            );
          })}
        </g>
      </svg>
      <div class="graph-tools">
        <button type="button" class="button button-icon button-small" aria-label="Zoom in" onClick={() => zoom(1.25)}>
          <Icon name="plus" />
        </button>
        <button type="button" class="button button-icon button-small" aria-label="Zoom out" onClick={() => zoom(0.8)}>
          <Icon name="minus" />
        </button>
        <button type="button" class="button button-icon button-small" aria-label="Fit the graph" onClick={() => setView(null)}>
          <Icon name="fit" />
        </button>
      </div>
    </div>
  );
}
