/** Search among graphs: in their words, or for a part of a graph. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./icon";

export const SEARCHES = [
  { name: "text", label: "Caption", placeholder: "Words of a caption" },
  { name: "phrase", label: "Relation", placeholder: "a red thing left of a blue thing" },
  { name: "pattern", label: "Pattern", placeholder: "(*{red})-[left of]->(*{blue})" },
] as const;
type Search = (typeof SEARCHES)[number]["name"];

/** Typing stands still for so long before captions are asked for, in milliseconds. */
const PAUSE = 180;

export function GraphSearch({ values, onChange }: { values: Record<string, string>; onChange: (changes: Record<string, string | null>) => void }) {
  const inAddress = SEARCHES.find(({ name }) => values[name])?.name;
  const [chosen, setChosen] = useState<Search>(inAddress ?? "text");
  const mode = inAddress ?? chosen;
  const value = values[mode] ?? "";
  const [draft, setDraft] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(() => {
    clearTimeout(timer.current);
    setDraft(value);
  }, [value, mode]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const ask = (text: string, name: Search = mode) => {
    clearTimeout(timer.current);
    onChange({ ...Object.fromEntries(SEARCHES.map((one) => [one.name, null])), [name]: text.trim() === "" ? null : text });
  };
  return (
    <form
      class="graph-search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        ask(draft);
      }}
    >
      <select
        class="select"
        aria-label="Search by"
        value={mode}
        onChange={(event) => {
          const name = event.currentTarget.value as Search;
          setChosen(name);
          ask("", name);
        }}
      >
        {SEARCHES.map(({ name, label }) => (
          <option key={name} value={name}>
            {label}
          </option>
        ))}
      </select>
      <input
        type="search"
        class="input"
        aria-label="Search graphs"
        placeholder={SEARCHES.find(({ name }) => name === mode)?.placeholder}
        value={draft}
        onInput={(event) => {
          const text = event.currentTarget.value;
          setDraft(text);
          clearTimeout(timer.current);
          // Half a phrase is a fault; half a word is already a search.
          if (mode === "text" || text === "") timer.current = setTimeout(() => ask(text), PAUSE);
        }}
      />
      <button type="submit" class="button button-icon" aria-label="Search">
        <Icon name="search" size={14} />
      </button>
    </form>
  );
}
