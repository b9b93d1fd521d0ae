/** A table that scrolls sideways where it does not fit, its columns' headings given as words. */
import type { ComponentChildren } from "preact";

/** A heading: words, words over numbers, or words that are only read out. */
export type Column = string | { number: string } | { hidden: string };

function Heading({ column }: { column: Column }) {
  if (typeof column === "string") return <th scope="col">{column}</th>;
  if ("hidden" in column) {
    return (
      <th scope="col">
        <span class="visually-hidden">{column.hidden}</span>
      </th>
    );
  }
  return (
    <th scope="col" class="number">
      {column.number}
    </th>
  );
}

/** `children` are the rows; `caption` is read out. */
export function Table({
  columns,
  kind = "",
  caption,
  children,
}: {
  columns: Column[];
  /** A class beside the table's own. */
  kind?: string;
  caption?: string;
  children: ComponentChildren;
}) {
  return (
    <div class="table-scroll">
      <table class={`table ${kind}`}>
        {caption && <caption class="visually-hidden">{caption}</caption>}
        <thead>
          <tr>
            {columns.map((column, place) => (
              <Heading key={place} column={column} />
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
