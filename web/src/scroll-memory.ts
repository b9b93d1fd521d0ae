/** Where each address was scrolled to, so that going back shows what was there. */
import { useLayoutEffect } from "preact/hooks";

const KEY = "diptych.scroll";
const MOST = 60;
/** How long a page may take to grow to its old height, in milliseconds. */
const PATIENCE = 3000;

let places = new Map<string, number>();
let back = false;

/** Whether the present page was come to by the browser's back or forward button. */
export const cameBack = (): boolean => back;

/** The newest `MOST` places, from what was kept; nothing where that cannot be read. */
export function readPlaces(text: string | null): Map<string, number> {
  try {
    const entries: unknown = JSON.parse(text ?? "[]");
    if (!Array.isArray(entries)) return new Map();
    return new Map(entries.filter((entry): entry is [string, number] => Array.isArray(entry) && typeof entry[0] === "string" && Number.isFinite(entry[1])));
  } catch {
    return new Map();
  }
}

/** Notes a place as the newest, and forgets the oldest. */
export function notePlace(places: Map<string, number>, address: string, top: number): void {
  places.delete(address);
  places.set(address, top);
  for (const oldest of places.keys()) {
    if (places.size <= MOST) break;
    places.delete(oldest);
  }
}

/** Scrolls to `top` as soon as the page is tall enough, unless somebody scrolls first. */
function restore(top: number): () => void {
  const until = performance.now() + PATIENCE;
  let over = false;
  const stop = () => {
    over = true;
    for (const event of ["wheel", "touchstart", "keydown", "pointerdown"]) removeEventListener(event, stop);
  };
  for (const event of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(event, stop, { passive: true });
  const attempt = () => {
    if (over) return;
    scrollTo(0, top);
    if (Math.abs(scrollY - top) < 2 || performance.now() > until) stop();
    else requestAnimationFrame(attempt);
  };
  attempt();
  return stop;
}

/** Begins a page at its top, or where it was when one comes back to it. `path` is the address without its query. */
export function useScrollMemory(path: string): void {
  useLayoutEffect(() => {
    history.scrollRestoration = "manual";
    places = readPlaces(sessionStorage.getItem(KEY));
    // A page that is loaded again stays where it was.
    back = (performance.getEntriesByType("navigation")[0] as PerformanceNavigationTiming | undefined)?.type === "reload";
    let address = location.href;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onScroll = () => {
      // Of the address that is shown now: the browser's own jump at a step back comes after the address changed.
      if (address !== location.href) return;
      notePlace(places, address, scrollY);
      clearTimeout(timer);
      timer = setTimeout(() => sessionStorage.setItem(KEY, JSON.stringify([...places])), 200);
    };
    const onPop = () => {
      back = true;
      const there = new URL(address).pathname;
      address = location.href;
      const top = places.get(address);
      // Another page restores itself when it is shown; the same one with other words in its address does it here.
      if (there === location.pathname && top !== undefined) restore(top);
    };
    const onReplace = () => {
      address = location.href;
    };
    const onPush = () => {
      back = false;
      address = location.href;
    };
    addEventListener("scroll", onScroll, { passive: true });
    addEventListener("popstate", onPop, { capture: true });
    addEventListener("pushState", onPush);
    addEventListener("replaceState", onReplace);
    return () => {
      removeEventListener("scroll", onScroll);
      removeEventListener("popstate", onPop, { capture: true });
      removeEventListener("pushState", onPush);
      removeEventListener("replaceState", onReplace);
    };
  }, []);
  useLayoutEffect(() => {
    const top = back ? places.get(location.href) : undefined;
    if (top === undefined) {
      scrollTo(0, 0);
      return;
    }
    return restore(top);
  }, [path]);
}
