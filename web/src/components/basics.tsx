/** Small parts that every page uses: pictures, bars, chips, notices, empty states. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { ApiError } from "../api/client";
import type { JobState, QuestionKind } from "../api/types";
import { humanize } from "../format";
import { Icon, type IconName } from "./icon";

/** A square picture whose box is there before it; small ones are shown pixel by pixel, not blurred. */
export function Picture({
  src,
  alt,
  tone,
  badge,
  lazy = true,
}: {
  src: string | null | undefined;
  alt: string;
  tone?: "winner" | "loser" | undefined;
  badge?: ComponentChildren;
  lazy?: boolean;
}) {
  const image = useRef<HTMLImageElement>(null);
  // Told to the element itself: a grid has hundreds of pictures, and none of them needs another render for having come.
  const settle = () => {
    const it = image.current;
    if (!it) return;
    if (!it.complete) it.dataset.state = "waiting";
    else {
      it.dataset.state = it.naturalWidth > 0 ? "ready" : "failed";
      it.classList.toggle("pixels", it.naturalWidth > 0 && it.naturalWidth <= 160);
    }
  };
  useLayoutEffect(settle, [src]);
  return (
    <div class={`picture ${tone ?? ""}`}>
      {badge}
      {src && <img ref={image} src={src} alt={alt} loading={lazy ? "lazy" : "eager"} decoding="async" onLoad={settle} onError={settle} />}
    </div>
  );
}

export function Bar({
  value,
  tone,
  moving,
  label,
}: {
  /** In [0, 1]; null draws an empty bar. */
  value: number | null | undefined;
  tone?: string | undefined;
  moving?: boolean;
  label?: string;
}) {
  const share = Math.max(0, Math.min(1, value ?? 0));
  return (
    <div
      class={`bar ${moving ? "moving" : ""}`}
      role={label ? "progressbar" : undefined}
      aria-label={label}
      aria-valuenow={label ? Math.round(share * 100) : undefined}
      aria-valuemin={label ? 0 : undefined}
      aria-valuemax={label ? 100 : undefined}
      style={tone ? { "--tone": `var(--${tone})` } : undefined}
    >
      <i style={{ width: `${share * 100}%` }} />
    </div>
  );
}

export function Segmented<T extends string>({
  value,
  options,
  onChange,
  label,
}: {
  value: T;
  options: { value: T; label: ComponentChildren }[];
  onChange: (value: T) => void;
  label: string;
}) {
  return (
    <div class="segmented" role="group" aria-label={label}>
      {options.map((option) => (
        <button key={option.value} type="button" aria-pressed={option.value === value} onClick={() => onChange(option.value)}>
          {option.label}
        </button>
      ))}
    </div>
  );
}

export function KindChip({ kind, children }: { kind: QuestionKind | string; children?: ComponentChildren }) {
  return <span class={`chip chip-${kind}`}>{children ?? humanize(kind)}</span>;
}

export const isActive = (state: string): boolean =>
  ["validating", "queued", "preparing", "running", "pausing", "cancelling"].includes(state);

export function StateChip({ state }: { state: JobState | string }) {
  const tone =
    state === "succeeded"
      ? "chip-winner"
      : state === "failed" || state === "cancelled"
        ? "chip-loser"
        : state === "paused" || state === "pausing" || state === "cancelling"
          ? "chip-warn"
          : "chip-accent";
  return (
    <span class={`chip ${tone}`}>
      {isActive(state) && <span class="live-dot pulse" style={{ background: "currentColor", width: 6, height: 6 }} />}
      {humanize(state)}
    </span>
  );
}

export function ErrorNotice({ error, what }: { error: Error; what: string }) {
  const problem = error instanceof ApiError ? error : null;
  return (
    <div class="notice notice-error" role="alert">
      <Icon name="alert" />
      <div>
        <strong>{what}</strong>
        <div>{problem ? `${problem.title}${problem.detail ? `. ${problem.detail}` : ""}` : error.message}</div>
        {problem?.errors.map((fault) => (
          <div key={`${fault.pointer}${fault.detail}`} class="small">
            <code>{fault.pointer}</code> {fault.detail}
          </div>
        ))}
      </div>
    </div>
  );
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} size={28} />
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Skeleton({ height, width }: { height: number | string; width?: number | string }) {
  return <div class="skeleton" style={{ height, width: width ?? "100%" }} aria-hidden="true" />;
}

export function Panel({
  title,
  extra,
  children,
  flush,
  label,
}: {
  title?: ComponentChildren;
  extra?: ComponentChildren;
  children: ComponentChildren;
  /** Without padding, for tables and lists that reach the border. */
  flush?: boolean;
  label?: string;
}) {
  return (
    <section class="panel" aria-label={label}>
      {(title || extra) && (
        <div class="panel-head">
          {typeof title === "string" ? <h2>{title}</h2> : title}
          {extra}
        </div>
      )}
      {flush ? children : <div class="panel-body">{children}</div>}
    </section>
  );
}

/** Calls `onReach` when it scrolls near the window: the end of a list that loads more. */
export function Sentinel({ onReach, busy }: { onReach: () => void; busy: boolean }) {
  const element = useRef<HTMLDivElement>(null);
  const latest = useRef({ onReach, busy });
  latest.current = { onReach, busy };
  useEffect(() => {
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting) && !latest.current.busy) latest.current.onReach();
      },
      { rootMargin: "800px" },
    );
    if (element.current) observer.observe(element.current);
    return () => observer.disconnect();
  }, [busy]);
  return <div ref={element} style={{ height: 1 }} aria-hidden="true" />;
}
