/** Any example that a job trains on, with the paths of its winner or its loser. */
import { useMemo } from "preact/hooks";
import { Link } from "wouter-preact";
import * as api from "../api/client";
import { useAddress } from "../address";
import { useResource } from "../api/resource";
import type { Job } from "../api/types";
import { formatCount } from "../format";
import { Empty, ErrorNotice, Panel, Picture, Segmented, Skeleton } from "./basics";
import { Icon } from "./icon";
import { INVERSION_DEFAULTS, InversionView, type InversionSettings } from "./inversion";

/** What the job itself inverts with, where its objective inverts. */
function settingsOf(job: Job): InversionSettings {
  const objective = job.spec?.objective ?? { name: "" };
  const number = (name: string, fallback: number) => (typeof objective[name] === "number" ? (objective[name] as number) : fallback);
  return {
    steps: number("num_inversion_steps", INVERSION_DEFAULTS.steps),
    guidance: number("inversion_guidance_scale", INVERSION_DEFAULTS.guidance),
  };
}

export function JobInversion({ job, pairing }: { job: Job; pairing: string }) {
  const [address, change] = useAddress();
  const asked = Number(address.example ?? 1);
  const number = Number.isInteger(asked) && asked >= 1 ? asked : 1;
  const side = address.side === "loser" ? "loser" : "winner";
  const found = useResource(`pairing/${pairing}/example/${number}`, (signal) => api.pairAt(pairing, number - 1, signal), { keep: true });
  const pair = found.value?.pair;
  const total = found.value?.total ?? 0;
  const defaults = useMemo(() => settingsOf(job), [job.id]);
  // Before the count is there, any number is as good as another.
  const last = found.value ? Math.max(total, 1) : Number.MAX_SAFE_INTEGER;
  const go = (to: number) => change({ example: to <= 1 ? null : String(Math.min(to, last)) });
  return (
    <Panel
      title="Inversion against sampling"
      label="Inversion against sampling"
      extra={
        <div class="row row-wrap">
          <Segmented
            label="Picture of the pair"
            value={side}
            options={[
              { value: "winner", label: "winner" },
              { value: "loser", label: "loser" },
            ]}
            onChange={(value) => change({ side: value === "winner" ? null : value })}
          />
          <button type="button" class="button button-small" aria-label="Example before" disabled={number <= 1} onClick={() => go(number - 1)}>
            <Icon name="left" size={12} />
          </button>
          <label class="row small quiet tabular nowrap">
            example
            <input
              class="input example-number tabular"
              inputMode="numeric"
              aria-label="Number of the example"
              // What is being typed stays when the page is drawn again meanwhile.
              key={number}
              defaultValue={String(number)}
              onChange={(event) => go(Math.round(Number(event.currentTarget.value)) || 1)}
            />
            of {formatCount(total)}
          </label>
          <button type="button" class="button button-small" aria-label="Example after" disabled={number >= total} onClick={() => go(number + 1)}>
            <Icon name="right" size={12} />
          </button>
        </div>
      }
    >
      {found.error && !pair && <ErrorNotice error={found.error} what="The job's examples could not be loaded." />}
      {found.value && !pair && (
        <Empty icon="pairs" title="There is no such example">
          <p>The job has {formatCount(total)} of them.</p>
        </Empty>
      )}
      {!found.value && !found.error && <Skeleton height={160} />}
      {pair && (
        <div class="job-inversion">
          <Link href={`/graphs/${pair.graph_id}?inversion=${pair[side].id}`} class="job-inversion-example">
            <Picture src={pair[side].image_url} alt={`The ${side} of example ${number}`} tone={side} />
            <span class="small quiet">{pair.caption}</span>
          </Link>
          <InversionView key={`${job.id}/${pair[side].id}`} candidate={pair[side].id} defaults={defaults} />
        </div>
      )}
    </Panel>
  );
}
