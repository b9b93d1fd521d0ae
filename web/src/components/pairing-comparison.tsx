/** Two frozen pairings: their policies, what both have, what was turned round, what only one has. */
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Pairing, PairPart } from "../api/types";
import { formatCount, formatScore3, shortHash } from "../format";
import { describePolicy } from "../policy-text";
import { ErrorNotice, Panel, Skeleton } from "./basics";
import { PairTile } from "./pair-tile";
import { Table } from "./table";

function Part({ title, help, part, pairing }: { title: string; help: string; part: PairPart; pairing: string }) {
  if (part.count === 0) return null;
  return (
    <div class="stack stack-s">
      <h3>
        {title} <span class="faint tabular">{formatCount(part.count)}</span>
      </h3>
      <p class="small faint">{help}</p>
      <div class="diptych-grid">
        {part.examples.slice(0, 6).map((pair) => (
          <PairTile key={pair.position} pair={pair} href={`/pairings/${pairing}?pair=${pair.position}`} />
        ))}
      </div>
    </div>
  );
}

export function PairingComparison({ here, there }: { here: Pairing; there: Pairing }) {
  const found = useResource(`comparison/${here.id}/${there.id}`, (signal) => api.comparePairings(here.id, there.id, signal), { keep: true });
  const value = found.value;
  const parts = value && [
    { name: "Same pair", count: value.same, tone: "winner" },
    { name: "Turned round", count: value.flipped.count, tone: "loser" },
    { name: "Only in A", count: value.only_here.count, tone: "accent" },
    { name: "Only in B", count: value.only_there.count, tone: "attribute" },
  ];
  const all = Math.max(1, parts?.reduce((sum, part) => sum + part.count, 0) ?? 1);
  return (
    <Panel title="Comparison" label="Comparison">
      <div class="stack" data-testid="comparison">
        <Table columns={["Snapshot", "Policy", { number: "Pairs" }, { number: "Graphs" }, { number: "Mean margin" }, "Hash"]}>
          {[here, there].map((pairing, index) => (
            <tr key={pairing.id}>
              <td>
                <span class="chip">{index === 0 ? "A" : "B"}</span> {pairing.name}
              </td>
              <td class="quiet">{describePolicy(pairing.policy)}</td>
              <td class="number">{formatCount(pairing.num_pairs)}</td>
              <td class="number">{formatCount(pairing.num_graphs)}</td>
              <td class="number">{formatScore3(pairing.mean_margin)}</td>
              <td class="mono faint">{shortHash(pairing.hash)}</td>
            </tr>
          ))}
        </Table>
        {found.error && <ErrorNotice error={found.error} what="The two could not be compared." />}
        {!parts && !found.error && <Skeleton height={60} />}
        {parts && value && (
          <>
            <div class="parts-bar" role="img" aria-label={parts.map(({ name, count }) => `${name}: ${count}`).join(", ")}>
              {parts.map(({ name, count, tone }) => (
                <i key={name} style={{ width: `${(count / all) * 100}%`, background: `var(--${tone})` }} />
              ))}
            </div>
            <div class="preview-figures">
              {parts.map(({ name, count, tone }) => (
                <div key={name}>
                  <span class="figure-label">
                    <i class="parts-dot" style={{ background: `var(--${tone})` }} /> {name}
                  </span>
                  <span class="figure tabular">{formatCount(count)}</span>
                </div>
              ))}
            </div>
            <Part title="Turned round" help="The same two pictures; what wins in A (shown) loses in B." part={value.flipped} pairing={here.id} />
            <Part title="Only in A" help="B does not have these two pictures as a pair." part={value.only_here} pairing={here.id} />
            <Part title="Only in B" help="A does not have these two pictures as a pair." part={value.only_there} pairing={there.id} />
          </>
        )}
      </div>
    </Panel>
  );
}
