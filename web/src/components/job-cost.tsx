/** What a job would cost, asked of the service while the form is filled. */
import { useEffect, useState } from "preact/hooks";
import { estimateJob } from "../api/client";
import type { JobEstimate } from "../api/types";
import { formatBytes, formatCount, formatSeconds } from "../format";

/** After the last change of the form, in milliseconds. */
const PAUSE = 350;

export function JobCost({ request }: { request: Record<string, unknown> }) {
  const key = JSON.stringify(request);
  const [state, setState] = useState<{ key: string; estimate?: JobEstimate; error?: Error }>({ key: "" });
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      estimateJob(request, abort.signal).then(
        (estimate) => setState({ key, estimate }),
        (error: Error) => {
          if (!abort.signal.aborted) setState({ key, error });
        },
      );
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [key]);
  const { estimate, error } = state;
  const figures: [string, string][] = estimate
    ? [
        ["Time", formatSeconds(estimate.seconds)],
        ["Memory", formatBytes(estimate.memory_bytes)],
        ["Disk for paths", formatBytes(estimate.trajectory_cache_bytes)],
        ["Pairs", formatCount(estimate.num_pairs)],
      ]
    : ["Time", "Memory", "Disk for paths", "Pairs"].map((name) => [name, "–"]);
  return (
    <div class={`job-cost ${state.key === key ? "" : "stale"}`} data-testid="job-cost" aria-live="polite">
      {figures.map(([name, text]) => (
        <div key={name}>
          <span class="figure-label">{name}</span>
          <span class="job-cost-figure tabular">{text}</span>
        </div>
      ))}
      <span class="small faint grow">
        {error
          ? "No estimate: the request is not complete yet."
          : estimate
            ? `${formatCount(estimate.replayed)} pictures replayed from their seed, ${formatCount(estimate.inverted)} inverted; ${
                estimate.measured_in === "jobs" ? "from the time of earlier jobs" : "from a forward pass on this machine"
              }`
            : "Reckoning what it costs"}
      </span>
    </div>
  );
}
