/** The metrics of a job, growing while it runs: only what is new is asked for. */
import { useEffect, useState } from "preact/hooks";
import { listMetrics } from "./client";
import type { MetricPoint } from "./types";

/** Points sorted by step, the newer one where two have the same step (a resumed job repeats some). */
export function mergePoints(old: MetricPoint[], more: MetricPoint[]): MetricPoint[] {
  if (more.length === 0) return old;
  const first = more[0];
  const last = old.at(-1);
  if (first && last && first.step > last.step) return [...old, ...more];
  const byStep = new Map(old.map((point) => [point.step, point]));
  for (const point of more) byStep.set(point.step, point);
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}

/** Some servers nest the figures under `metrics`; the curves want them beside the step. */
export function flattenPoint(point: MetricPoint & { metrics?: unknown }): MetricPoint {
  return point.metrics && typeof point.metrics === "object" ? { ...(point.metrics as MetricPoint), step: point.step } : point;
}

export function useMetrics(job: string | null, active: boolean): { points: MetricPoint[]; ready: boolean } {
  const [state, setState] = useState<{ job: string | null; points: MetricPoint[]; ready: boolean }>({ job: null, points: [], ready: false });
  useEffect(() => {
    if (!job) return;
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let points: MetricPoint[] = [];
    const run = async () => {
      try {
        for (;;) {
          const since = points.at(-1)?.step ?? -1;
          const page = await listMetrics(job, since + 1, abort.signal);
          const before = points.length;
          points = mergePoints(points, page.items.map(flattenPoint));
          if (!page.next_cursor || points.length === before) break;
        }
        setState({ job, points, ready: true });
      } catch {
        if (abort.signal.aborted) return;
      }
      if (active) timer = setTimeout(run, 1000);
    };
    void run();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [job, active]);
  return state.job === job ? state : { points: [], ready: false };
}
