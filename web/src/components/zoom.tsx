/** Pictures that are zoomed and moved together: what one shows, the others show at the same place. */
import type { ComponentChildren } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import { useWheelZoom } from "../wheel-zoom";
import { clampView, UNZOOMED, zoomAt, type ZoomView } from "../zoom";
import { Icon } from "./icon";

export interface LinkedZoom {
  view: ZoomView;
  setView: (change: (view: ZoomView) => ZoomView) => void;
}

/** One view for all pictures; `key` names what they show: another subject starts unzoomed. */
export function useLinkedZoom(key: string): LinkedZoom {
  const [state, setState] = useState({ key, view: UNZOOMED });
  const view = state.key === key ? state.view : UNZOOMED;
  return {
    view,
    setView: (change) => setState((old) => ({ key, view: change(old.key === key ? old.view : UNZOOMED) })),
  };
}

/** Ctrl + wheel or a double click zooms, dragging moves. */
export function Zoomable({ zoom, children }: { zoom: LinkedZoom; children: ComponentChildren }) {
  const frame = useRef<HTMLDivElement>(null);
  const drag = useRef<{ x: number; y: number } | null>(null);
  const { view } = zoom;
  /** Where an event is, in widths of the picture. */
  const place = (event: { clientX: number; clientY: number }) => {
    const box = frame.current?.getBoundingClientRect();
    return box ? { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height } : { x: 0.5, y: 0.5 };
  };

  useWheelZoom(frame, (factor, event) => {
    const { x, y } = place(event);
    zoom.setView((old) => zoomAt(old, factor, x, y));
  });

  return (
    <div
      ref={frame}
      class={`zoomable ${view.scale > 1 ? "zoomed" : ""}`}
      style={{ "--zoom": view.scale, "--zoom-x": `${view.x * 100}%`, "--zoom-y": `${view.y * 100}%` }}
      onDblClick={(event) => {
        const { x, y } = place(event);
        zoom.setView((old) => (old.scale > 1 ? UNZOOMED : zoomAt(old, 3, x, y)));
      }}
      onPointerDown={(event) => {
        if (event.button !== 0 || view.scale === 1) return;
        const { x, y } = place(event);
        drag.current = { x: x - view.x, y: y - view.y };
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        const start = drag.current;
        if (!start) return;
        const { x, y } = place(event);
        zoom.setView((old) => clampView({ ...old, x: x - start.x, y: y - start.y }));
      }}
      onPointerUp={() => {
        drag.current = null;
      }}
    >
      {children}
    </div>
  );
}

/** The same for who has no wheel. */
export function ZoomTools({ zoom }: { zoom: LinkedZoom }) {
  const by = useMemo(
    () => (factor: number) => zoom.setView((old) => zoomAt(old, factor, 0.5, 0.5)),
    [zoom],
  );
  return (
    <div class="row zoom-tools" role="group" aria-label="Zoom of both pictures">
      <button type="button" class="button button-icon button-small" aria-label="Zoom out" disabled={zoom.view.scale <= 1} onClick={() => by(1 / 1.6)}>
        <Icon name="minus" />
      </button>
      <span class="small tabular quiet zoom-scale">{Math.round(zoom.view.scale * 100)} %</span>
      <button type="button" class="button button-icon button-small" aria-label="Zoom in" onClick={() => by(1.6)}>
        <Icon name="plus" />
      </button>
    </div>
  );
}
