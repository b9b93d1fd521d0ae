/** A pair as lists show it: winner beside loser, and the first question on which they differ. */
import { Link } from "wouter-preact";
import type { Pair } from "../api/types";
import { formatScore } from "../format";
import { Picture } from "./basics";

export function PairTile({ pair, href }: { pair: Pair; href: string }) {
  return (
    <Link href={href} class="diptych">
      <div class="diptych-pictures">
        <Picture src={pair.winner.image_url} alt="Winner" tone="winner" />
        <Picture src={pair.loser.image_url} alt="Loser" tone="loser" />
        <span class="under winner">
          winner <b>{formatScore(pair.winner.score)}</b>
        </span>
        <span class="under loser">
          loser <b>{formatScore(pair.loser.score)}</b>
        </span>
      </div>
      <div class="small faint truncate">{pair.differing_questions?.[0]?.text ?? pair.caption ?? " "}</div>
    </Link>
  );
}
