/** Fetching inside components: keeps the last value while it asks again, polls, aborts what nobody waits for. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

export interface Resource<T> {
  value: T | undefined;
  error: Error | undefined;
  loading: boolean;
  reload: () => void;
}

/**
 * `key` names what is asked for: a new key drops the old value unless `keep` says to show it until the new one is there.
 * `poll` gives the milliseconds until the next request, or null to stop.
 */
export function useResource<T>(
  key: string | null,
  ask: (signal: AbortSignal) => Promise<T>,
  options: { poll?: (value: T | undefined) => number | null; keep?: boolean } = {},
): Resource<T> {
  const [state, setState] = useState<{ key: string | null; value?: T; error?: Error }>({ key: null });
  const [round, setRound] = useState(0);
  const latest = useRef({ ask, options });
  latest.current = { ask, options };

  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const run = async () => {
      let value: T | undefined;
      try {
        value = await latest.current.ask(abort.signal);
        if (abort.signal.aborted) return;
        setState({ key, value });
      } catch (error) {
        if (abort.signal.aborted) return;
        setState((old) => ({ key, value: old.key === key ? old.value : undefined, error: error as Error }));
      }
      const wait = latest.current.options.poll?.(value);
      if (wait != null) timer = setTimeout(run, document.hidden ? Math.max(wait, 5000) : wait);
    };
    void run();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key, round]);

  const current = state.key === key;
  const value = current || options.keep ? state.value : undefined;
  return {
    value,
    error: current ? state.error : undefined,
    loading: key !== null && !current,
    reload: useCallback(() => setRound((n) => n + 1), []),
  };
}
