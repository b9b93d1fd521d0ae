/** What a detector found, drawn over a picture: a box lights up what it names, and what is lit lights up its boxes. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Detection, SceneObject } from "../api/types";
import { formatPercent } from "../format";
import { objectsOf, type Focus, type Lit } from "../question-tree";

const percent = (share: number): string => `${Math.max(0, Math.min(1, share)) * 100}%`;

export function DetectionBoxes({
  detections,
  objects,
  lit,
  onFocus,
}: {
  detections: Detection[];
  objects: SceneObject[];
  lit: Lit | null;
  onFocus: (focus: Focus | null) => void;
}) {
  const frame = useRef<HTMLDivElement>(null);
  // A picture that is not square leaves a margin in its square frame.
  const [size, setSize] = useState({ width: 1, height: 1 });
  useLayoutEffect(() => {
    const image = frame.current?.parentElement?.querySelector("img");
    if (!image) return;
    const measure = () => {
      if (image.naturalWidth > 0) setSize({ width: image.naturalWidth, height: image.naturalHeight });
    };
    measure();
    image.addEventListener("load", measure);
    return () => image.removeEventListener("load", measure);
  }, []);
  const longer = Math.max(size.width, size.height);
  const margin = { x: percent((1 - size.width / longer) / 2), y: percent((1 - size.height / longer) / 2) };
  return (
    <div ref={frame} class="detections" style={{ inset: `${margin.y} ${margin.x}` }}>
      {detections.map(({ label, box, confidence, answerer }, place) => {
        const [left = 0, top = 0, right = 1, bottom = 1] = box;
        const isLit = objectsOf(label, objects).some((object) => lit?.objects.has(object));
        return (
          <button
            key={`${label}${place}`}
            type="button"
            class={`detection ${isLit ? "lit" : lit ? "dim" : ""}`}
            style={{ left: percent(left), top: percent(top), right: percent(1 - right), bottom: percent(1 - bottom) }}
            aria-label={`${label}, found by ${answerer}`}
            title={`${label}, ${formatPercent(confidence)} sure (${answerer})`}
            onPointerEnter={() => onFocus({ label })}
            onPointerLeave={() => onFocus(null)}
            onFocus={() => onFocus({ label })}
            onBlur={() => onFocus(null)}
          >
            <span>{label}</span>
          </button>
        );
      })}
    </div>
  );
}
