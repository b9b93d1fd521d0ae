/** What a graph is called where people read of it. */
import type { GraphSummary, SceneObject } from "./api/types";

type Named = Pick<GraphSummary, "caption" | "img_id" | "objects" | "relations">;

const thing = (object: SceneObject | undefined): string => (object ? [...object.attributes, object.label].join(" ") : "");

/** Its caption; without one what it holds, `red circle left of blue square; star`; without anything its name. */
export function graphTitle({ caption, img_id, objects, relations }: Named): string {
  if (caption?.trim()) return caption;
  const byPlace = new Map(objects.map((object) => [object.position, object]));
  const related = new Set(relations.flatMap(({ subject, object }) => [subject, object]));
  const words = [
    ...relations.map(({ subject, predicate, object }) => `${thing(byPlace.get(subject))} ${predicate} ${thing(byPlace.get(object))}`),
    ...objects.filter(({ position }) => !related.has(position)).map(thing),
  ];
  return words.join("; ") || img_id;
}
