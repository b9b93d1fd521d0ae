/** Server-sent events of a job, resumed from the last one seen. */
import { createParser } from "eventsource-parser";
import type { JobEvent } from "./types";

/**
 * Reads `/jobs/{id}/events` until `signal` aborts, calling `onEvent` for each; reconnects with `Last-Event-ID`.
 * `fetch` and not `EventSource`: the latter hides events whose names it was not told beforehand.
 */
export async function followJobEvents(
  job: string,
  onEvent: (event: JobEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  let last: string | null = null;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (last) headers["last-event-id"] = last;
      const response = await fetch(`/api/v1/jobs/${job}/events`, { headers, signal });
      if (!response.ok || !response.body) throw new Error(`status ${response.status}`);
      wait = 500;
      const parser = createParser({
        onEvent: ({ id, event, data }) => {
          if (id) last = id;
          const parsed = toJobEvent(id, event, data);
          if (parsed) onEvent(parsed);
        },
        onRetry: (milliseconds) => {
          wait = milliseconds;
        },
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        parser.feed(value);
      }
    } catch {
      if (signal.aborted) return;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 10_000);
  }
}

/** The stream carries either the whole event or its data alone; both become a `JobEvent`. */
export function toJobEvent(id: string | undefined, name: string | undefined, data: string): JobEvent | null {
  let body: unknown;
  try {
    body = JSON.parse(data);
  } catch {
    body = data;
  }
  if (body && typeof body === "object" && "kind" in body && "sequence" in body) return body as JobEvent;
  const sequence = Number(id);
  if (!Number.isFinite(sequence)) return null;
  return { sequence, at: new Date().toISOString(), kind: name ?? "message", data: body };
}
