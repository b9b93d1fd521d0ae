/** What a page remembers, it remembers in the address. */
import { useCallback } from "preact/hooks";
import { useSearchParams } from "wouter-preact";

/**
 * The query parameters as a record, and a function that changes some of them: an empty value removes one. `push` makes
 * a step for the back button; without it (sliders, typing) the present one is rewritten.
 */
export function useAddress(): [Record<string, string>, (changes: Record<string, string | null>, push?: boolean) => void] {
  const [params, setParams] = useSearchParams();
  const change = useCallback(
    (changes: Record<string, string | null>, push = false) => {
      setParams(
        (old) => {
          const next = new URLSearchParams(old);
          for (const [key, value] of Object.entries(changes)) {
            if (value === null || value === "") next.delete(key);
            else next.set(key, value);
          }
          return next;
        },
        { replace: !push },
      );
    },
    [setParams],
  );
  return [Object.fromEntries(params), change];
}
