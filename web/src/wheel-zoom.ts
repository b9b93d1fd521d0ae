import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** Calls `onZoom` with a factor for every turn of the wheel over `frame` with ctrl held; a bare wheel scrolls the page. */
export function useWheelZoom(frame: RefObject<HTMLElement>, onZoom: (factor: number, event: WheelEvent) => void): void {
  const latest = useRef(onZoom);
  latest.current = onZoom;
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const onWheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      latest.current(Math.exp(-event.deltaY / 240), event);
    };
    // Preact's own listeners may be passive, and those cannot keep the page from zooming along.
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, []);
}
