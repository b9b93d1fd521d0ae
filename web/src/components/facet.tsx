/** The words of one kind that a list can be narrowed to, each with its count. */
import { useState } from "preact/hooks";
import { formatCount, humanize } from "../format";

const SHOWN = 8;

export function Facet({
  name,
  title,
  counts,
  value,
  onChange,
  open,
}: {
  name: string;
  title?: string;
  counts: Record<string, number>;
  value: string | undefined;
  onChange: (value: string | null) => void;
  /** Whether any word may be asked for, also one that is too rare to be counted here. */
  open?: boolean;
}) {
  const [all, setAll] = useState(false);
  const [text, setText] = useState("");
  const entries = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const found = text ? entries.filter(([key]) => key.toLowerCase().includes(text.toLowerCase())) : entries;
  const shown = all || text ? found : found.slice(0, SHOWN);
  if (value && !shown.some(([key]) => key === value)) shown.push([value, counts[value] ?? 0]);
  const highest = Math.max(1, ...entries.map(([, count]) => count));
  if (entries.length === 0 && !value) return null;
  return (
    <fieldset class="facet">
      <legend>{title ?? humanize(name)}</legend>
      {open && entries.length > SHOWN && (
        <input
          type="search"
          class="input facet-find"
          placeholder={`Find or type one`}
          aria-label={`Find a word among ${title ?? humanize(name)}`}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || text.trim() === "") return;
            event.preventDefault();
            // The first that is shown, or the word itself: the counts hold only the most frequent.
            onChange(found[0]?.[0] ?? text.trim());
            setText("");
          }}
        />
      )}
      {shown.map(([key, count]) => (
        <button key={key} type="button" class="facet-row" aria-pressed={value === key} onClick={() => onChange(value === key ? null : key)}>
          <i style={{ width: `${(count / highest) * 100}%` }} />
          <span class="truncate">{humanize(key)}</span>
          <span class="tabular faint">{formatCount(count)}</span>
        </button>
      ))}
      {text !== "" && found.length === 0 && <span class="small faint">Enter looks for “{text}”</span>}
      {!text && entries.length > SHOWN && (
        <button type="button" class="button button-quiet button-small" onClick={() => setAll(!all)}>
          {all ? "Fewer" : `All ${entries.length}`}
        </button>
      )}
    </fieldset>
  );
}
