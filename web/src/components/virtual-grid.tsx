/** A grid of cards as long as one likes: only those near the window are in the document, and keys lead from card to card. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { cardAfterKey, gridShape, grow, rowsNear } from "../virtual-rows";

const GAP = 16;
/** Rows above and below the window that are there already: a wheel's turn never meets an empty place. */
const AHEAD = 2;
/** Cards outside of the window that one frame may make at each end. */
const CARDS_A_FRAME = 1;

export function VirtualGrid({
  count,
  least,
  cardHeight,
  card,
  onRange,
  label,
  stale,
}: {
  count: number;
  /** Least width of a card, in pixels. */
  least: number;
  /** Its height at a width, both in pixels. */
  cardHeight: (width: number) => number;
  /** The card at a place; `tabIndex` is for the part of it that takes the focus, which carries `data-card`. */
  card: (index: number, tabIndex: 0 | -1) => ComponentChildren;
  /** Told of the places that are in the document now, the end not among them. */
  onRange: (from: number, to: number) => void;
  label: string;
  stale?: boolean;
}) {
  const frame = useRef<HTMLUListElement>(null);
  const [width, setWidth] = useState(0);
  const [[from, to], setPlaces] = useState<[number, number]>([0, 0]);
  // One card takes part in the order of the Tab key: the last that had the focus.
  const [active, setActive] = useState(0);
  const focusWanted = useRef<number | null>(null);
  const placesNow = useRef<[number, number]>([0, 0]);
  const { columns, columnWidth } = gridShape(width, least, GAP);
  const height = Math.round(cardHeight(columnWidth));
  const pitch = height + GAP;
  const rows = Math.ceil(count / columns);

  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return;
    setWidth(element.clientWidth);
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = frame.current;
    if (!element || width === 0) return;
    let waiting = 0;
    const look = () => {
      waiting = 0;
      const top = -element.getBoundingClientRect().top;
      const cards = (ahead: number) =>
        rowsNear(top, window.innerHeight, pitch, rows, ahead).map((row) => Math.min(count, row * columns)) as [number, number];
      const wanted = cards(AHEAD);
      const next = grow(placesNow.current, wanted, cards(0), CARDS_A_FRAME);
      const [before, after] = placesNow.current;
      if (next[0] !== before || next[1] !== after) {
        placesNow.current = next;
        setPlaces(next);
      }
      if (next[0] !== wanted[0] || next[1] !== wanted[1]) onScroll();
    };
    const onScroll = () => {
      waiting ||= requestAnimationFrame(look);
    };
    look();
    addEventListener("scroll", onScroll, { passive: true });
    addEventListener("resize", onScroll);
    return () => {
      cancelAnimationFrame(waiting);
      removeEventListener("scroll", onScroll);
      removeEventListener("resize", onScroll);
    };
  }, [width, pitch, rows, count]);

  useEffect(() => {
    if (to > from) onRange(from, to);
  }, [from, to]);
  useEffect(() => {
    if (active >= count) setActive(0);
  }, [count]);

  // A key may lead to a card that is not in the document yet.
  useLayoutEffect(() => {
    if (focusWanted.current === null) return;
    const element = frame.current?.querySelector<HTMLElement>(`[data-place="${focusWanted.current}"] [data-card]`);
    if (!element) return;
    focusWanted.current = null;
    element.focus({ preventScroll: true });
  });

  const onKeyDown = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    if (!target.matches("[data-card]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = Number(target.closest<HTMLElement>("[data-place]")?.dataset.place);
    const next = cardAfterKey(event.key, place, count, columns, Math.max(1, Math.floor(window.innerHeight / pitch)));
    if (next === null) return;
    event.preventDefault();
    setActive(next);
    focusWanted.current = next;
    const box = frame.current?.getBoundingClientRect();
    if (!box) return;
    const top = box.top + Math.floor(next / columns) * pitch;
    if (top < 8) window.scrollBy(0, top - 8);
    else if (top + height > window.innerHeight - 8) window.scrollBy(0, top + height - window.innerHeight + 8);
  };

  const places = Array.from({ length: Math.max(0, to - from) }, (_, k) => from + k);
  // What has the focus stays, wherever one scrolls.
  if (active < count && (active < from || active >= to) && to > from) places.push(active);

  return (
    <ul
      ref={frame}
      class={`virtual-grid ${stale ? "stale" : ""}`}
      aria-label={label}
      style={{ height: rows > 0 ? rows * pitch - GAP : 0 }}
      onKeyDown={onKeyDown}
      onFocusIn={(event) => {
        const place = (event.target as HTMLElement).closest<HTMLElement>("[data-place]")?.dataset.place;
        if (place !== undefined) setActive(Number(place));
      }}
    >
      {width > 0 &&
        places.map((place) => (
          <li
            key={place}
            data-place={place}
            aria-setsize={count}
            aria-posinset={place + 1}
            style={{
              width: columnWidth,
              height,
              transform: `translate(${(place % columns) * (columnWidth + GAP)}px, ${Math.floor(place / columns) * pitch}px)`,
            }}
          >
            {card(place, place === active ? 0 : -1)}
          </li>
        ))}
    </ul>
  );
}
