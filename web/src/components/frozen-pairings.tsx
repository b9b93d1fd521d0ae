/** The frozen pairings as a table; two of them ticked are compared. */
import { Link } from "wouter-preact";
import type { Pairing } from "../api/types";
import { formatAgo, formatCount, shortHash } from "../format";
import { Table } from "./table";

export function FrozenPairings({
  pairings,
  chosen,
  onChoose,
}: {
  pairings: Pairing[];
  /** Ids, at most two. */
  chosen: string[];
  onChoose: (ids: string[]) => void;
}) {
  const toggle = (id: string) => {
    // A third one takes the place of the older of the two.
    onChoose(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-2));
  };
  return (
    <Table columns={["Compare", "Name", { number: "Pairs" }, "Hash", "Frozen", { hidden: "Actions" }]}>
      {pairings.map((pairing) => (
        <tr key={pairing.id} class={chosen.includes(pairing.id) ? "lit" : ""}>
          <td>
            <label class="tick">
              <input
                type="checkbox"
                checked={chosen.includes(pairing.id)}
                aria-label={`Compare ${pairing.name}`}
                onChange={() => toggle(pairing.id)}
              />
            </label>
          </td>
          <td>
            <Link href={`/pairings/${pairing.id}`} class="link">
              {pairing.name}
            </Link>
          </td>
          <td class="number">{formatCount(pairing.num_pairs)}</td>
          <td class="mono faint" title={pairing.hash}>
            {shortHash(pairing.hash)}
          </td>
          <td class="quiet nowrap">{formatAgo(pairing.created_at)}</td>
          <td class="number">
            <Link href={`/jobs?pairing=${pairing.id}`} class="button button-small">
              Train
            </Link>
          </td>
        </tr>
      ))}
    </Table>
  );
}
