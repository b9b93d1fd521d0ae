import { useEffect } from "preact/hooks";

/** Names the page in the window's title while it is shown. */
export function usePageTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · Diptych` : "Diptych";
  }, [title]);
}
