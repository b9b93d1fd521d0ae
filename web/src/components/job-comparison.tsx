/** Several jobs over each other: what they did differently, their curves, their results. */
import { useMemo } from "preact/hooks";
import { useMetrics } from "../api/metrics";
import type { Evaluation, Job, MetricPoint } from "../api/types";
import { formatNumber, humanize } from "../format";
import { CURVES, jobTitle, specRows } from "../job-facts";
import { Panel, isActive } from "./basics";
import { Lines } from "./curve";
import { intervalRow } from "./evaluation-result";
import { Intervals } from "./interval";
import { Table } from "./table";

export const MOST_COMPARED = 4;
const TONES = ["accent", "winner", "attribute", "relation"];

/** Settings that are not the same in all of them. */
function differences(jobs: Job[]): { name: string; values: string[] }[] {
  const rows = jobs.map((job) => new Map(specRows(job.spec as Record<string, unknown>)));
  const names = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  return names
    .map((name) => ({ name, values: rows.map((row) => row.get(name) ?? "–") }))
    .filter(({ values }) => new Set(values).size > 1);
}

export function JobComparison({ jobs, evaluations }: { jobs: Job[]; evaluations: Evaluation[] }) {
  // As many hooks as jobs can be compared, whatever their number now.
  const metrics = [
    useMetrics(jobs[0]?.id ?? null, isActive(jobs[0]?.state ?? "")),
    useMetrics(jobs[1]?.id ?? null, isActive(jobs[1]?.state ?? "")),
    useMetrics(jobs[2]?.id ?? null, isActive(jobs[2]?.state ?? "")),
    useMetrics(jobs[3]?.id ?? null, isActive(jobs[3]?.state ?? "")),
  ];
  const names = jobs.map((job) => `${jobTitle(job)} ${job.id.slice(-4)}`);
  const differing = differences(jobs);
  const results = jobs.flatMap((job, index) => {
    const result = evaluations.find((item) => item.job_id === job.id && item.kind !== "progress" && item.result)?.result;
    return result ? [intervalRow(names[index] ?? "", result, TONES[index] ?? "accent")] : [];
  });
  return (
    <Panel title={`${jobs.length} jobs compared`} label="Jobs compared">
      <div class="stack" data-testid="job-comparison">
        <ul class="row row-wrap" aria-label="Legend">
          {names.map((name, index) => (
            <li key={name} class="row small">
              <i class="parts-dot" style={{ background: `var(--${TONES[index]})` }} /> {name}
            </li>
          ))}
        </ul>
        <div class="curves">
          {CURVES.slice(0, 5).map((curve) => (
            <Overlay key={curve.name} curve={curve} names={names} points={metrics.map((one) => one.points).slice(0, jobs.length)} />
          ))}
        </div>
        {results.length > 0 && (
          <div>
            <h3>Change on held-out graphs against the base</h3>
            <Intervals rows={results} />
          </div>
        )}
        <Table columns={["Setting", ...names]} caption="Settings that differ">
          {differing.map(({ name, values }) => (
            <tr key={name}>
              <th scope="row">{humanize(name)}</th>
              {values.map((value, index) => (
                <td key={names[index]} class="tabular">
                  {value}
                </td>
              ))}
            </tr>
          ))}
          <tr>
            <th scope="row">last loss</th>
            {jobs.map((job, index) => (
              <td key={job.id} class="tabular">
                {formatNumber(metrics[index]?.points.at(-1)?.loss)}
              </td>
            ))}
          </tr>
        </Table>
      </div>
    </Panel>
  );
}

function Overlay({ curve, names, points }: { curve: (typeof CURVES)[number]; names: string[]; points: MetricPoint[][] }) {
  const lines = useMemo(
    () =>
      points.map((run, index) => ({
        name: names[index] ?? "",
        tone: TONES[index] ?? "accent",
        steps: run.map(({ step }) => step),
        values: run.map((point) => point[curve.name] ?? null),
      })),
    [curve.name, names.join(), points.map((run) => run.length).join()],
  );
  return <Lines lines={lines} label={curve.label} reference={curve.reference} />;
}
