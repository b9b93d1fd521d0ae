/** All training jobs, and the form that starts one from a frozen pairing. */
import { Link, useLocation } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Evaluation } from "../api/types";
import { Bar, Empty, ErrorNotice, isActive, Panel, Skeleton, StateChip } from "../components/basics";
import { Icon } from "../components/icon";
import { JobComparison, MOST_COMPARED } from "../components/job-comparison";
import { JobStartForm } from "../components/job-form";
import { Table } from "../components/table";
import { formatAgo, formatCount, formatDelta, formatSeconds, humanize } from "../format";
import { jobTitle, secondsOf } from "../job-facts";
import { usePageTitle } from "../page-title";

export function DeltaCell({ evaluation }: { evaluation: Evaluation | undefined }) {
  const result = evaluation?.result;
  if (!result) return <span class="faint">–</span>;
  const [low, high] = result.delta_ci95 ?? [0, 0];
  return (
    <span
      class="tabular nowrap"
      style={{ color: low > 0 ? "var(--winner)" : high < 0 ? "var(--loser)" : "var(--ink-2)", fontWeight: 600 }}
      title={`95 % interval ${formatDelta(low)} to ${formatDelta(high)}`}
    >
      {formatDelta(result.delta)} {result.delta_se !== null && <span class="faint small">± {(1.96 * result.delta_se).toFixed(3)}</span>}
    </span>
  );
}

export function JobsPage() {
  usePageTitle("Jobs");
  const [address, change] = useAddress();
  const [, navigate] = useLocation();
  const open = address.new !== undefined || address.pairing !== undefined;
  const jobs = useResource("jobs", api.listJobs, { poll: (page) => (page?.items.some((job) => isActive(job.state)) ? 1500 : 6000), keep: true });
  const evaluations = useResource("evaluations", (signal) => api.listEvaluations(undefined, signal), { poll: () => 6000, keep: true });
  const items = jobs.value?.items ?? [];
  const chosen = (address.compare ?? "").split(",").filter(Boolean).slice(0, MOST_COMPARED);
  const compared = chosen.flatMap((id) => items.find((job) => job.id === id) ?? []);
  const toggle = (id: string) =>
    change({ compare: (chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-MOST_COMPARED)).join(",") }, true);
  return (
    <>
      <div class="page-head">
        <div>
          <h1>Jobs</h1>
          <p>Each job trains on a frozen pairing and is judged on held-out graphs against the base, with the same seeds.</p>
        </div>
        <button type="button" class="button button-primary" aria-expanded={open} onClick={() => change({ new: open ? null : "1", pairing: null }, true)}>
          <Icon name={open ? "cross" : "plus"} /> {open ? "Close" : "New job"}
        </button>
      </div>
      {open && (
        <Panel title="New job" label="New job">
          <JobStartForm pairing={address.pairing} onDone={(job) => navigate(`/jobs/${job.id}`)} />
        </Panel>
      )}
      {jobs.error && <ErrorNotice error={jobs.error} what="The jobs could not be listed." />}
      <Panel flush label="Jobs">
        {!jobs.value && !jobs.error && (
          <div class="panel-body stack stack-s">
            {[0, 1, 2].map((row) => (
              <Skeleton key={row} height={40} />
            ))}
          </div>
        )}
        {jobs.value && items.length === 0 && (
          <Empty icon="jobs" title="No job yet">
            <p>Start one from a frozen pairing: the curves and the pictures appear while it trains.</p>
            {!open && (
              <button type="button" class="button button-primary" onClick={() => change({ new: "1" }, true)}>
                New job
              </button>
            )}
          </Empty>
        )}
        {items.length > 0 && (
          <Table columns={["Compare", "Job", "State", "Progress", { number: "Held-out change" }, { number: "Time" }, "Started"]}>
            {items.map((job) => {
              const share = job.progress?.total ? job.progress.done / job.progress.total : 0;
              const evaluation = evaluations.value?.items.find((item) => item.job_id === job.id && item.kind !== "progress" && item.result);
              return (
                <tr key={job.id} class={chosen.includes(job.id) ? "lit" : ""}>
                  <td>
                    <label class="tick">
                      <input
                        type="checkbox"
                        checked={chosen.includes(job.id)}
                        aria-label={`Compare ${jobTitle(job)} ${job.id.slice(-4)}`}
                        onChange={() => toggle(job.id)}
                      />
                    </label>
                  </td>
                  <td>
                    <Link href={`/jobs/${job.id}`} class="link">
                      {jobTitle(job)}
                    </Link>
                    <div class="mono faint small">{job.id.slice(-12)}</div>
                  </td>
                  <td>
                    <StateChip state={job.state} />
                  </td>
                  <td style={{ minWidth: 150 }}>
                    <Bar value={share} moving={isActive(job.state)} tone={job.state === "succeeded" ? "winner" : "accent"} />
                    <span class="small faint tabular">
                      {formatCount(job.progress?.done)} / {formatCount(job.progress?.total)} {job.progress?.unit ?? ""}
                      {job.stage && isActive(job.state) ? ` · ${humanize(job.stage)}` : ""}
                    </span>
                  </td>
                  <td class="number">
                    <DeltaCell evaluation={evaluation} />
                  </td>
                  <td class="number nowrap">{formatSeconds(secondsOf(job))}</td>
                  <td class="quiet nowrap">{formatAgo(job.started_at ?? job.created_at)}</td>
                </tr>
              );
            })}
          </Table>
        )}
      </Panel>
      {compared.length > 1 && <JobComparison jobs={compared} evaluations={evaluations.value?.items ?? []} />}
    </>
  );
}
