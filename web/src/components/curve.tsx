/** One metric over the steps: the points faint, their moving average strong; or several runs over each other. */
import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import { formatNumber } from "../format";
import { smooth } from "../smooth";
import { alignSteps } from "../align-steps";
import { usePlot } from "./plot";

export interface CurveProps {
  steps: number[];
  values: (number | null)[];
  label: string;
  reference?: number | undefined;
  tone?: string;
  height?: number;
  maxStep?: number | undefined;
}

const averageOf = (values: (number | null)[]) => smooth(values, Math.max(1, Math.round(values.length / 25)));

export function Curve({ steps, values, label, reference, tone = "accent", height = 150, maxStep }: CurveProps) {
  const averaged = useMemo(() => averageOf(values), [values]);
  const last = lastNumber(averaged);
  const [hovered, setHovered] = useState<string | null>(null);
  const data = useMemo(() => [steps, values, averaged] as uPlot.AlignedData, [steps, values, averaged]);
  const frame = usePlot(
    data,
    {
      height,
      reference,
      maxStep,
      series: (color) => [
        { stroke: color(tone), alpha: 0.28, width: 1, points: { show: false } },
        { stroke: color(tone), width: 2, points: { show: (_chart, _series, from, to) => to - from < 2 } },
      ],
      onCursor: (at) => {
        const value = at === null ? null : values[at];
        setHovered(value == null || at === null ? null : `step ${steps[at]}: ${formatNumber(value)}`);
      },
    },
    `${height}/${reference}/${tone}/${maxStep}`,
  );
  return (
    <figure class="curve" aria-label={`${label}: now ${formatNumber(last)}`}>
      <figcaption class="row spread">
        <span class="curve-label">{label}</span>
        <span class="curve-value tabular">{hovered ?? formatNumber(last)}</span>
      </figcaption>
      <div ref={frame} style={{ height }} />
    </figure>
  );
}

export interface Line {
  name: string;
  steps: number[];
  values: (number | null)[];
  tone: string;
}

/** The moving averages of several runs over each other. */
export function Lines({ lines, label, reference, height = 190 }: { lines: Line[]; label: string; reference?: number | undefined; height?: number }) {
  const [at, setAt] = useState<number | null>(null);
  const data = useMemo(
    () => alignSteps(lines.map(({ steps, values }) => ({ steps, values: averageOf(values) }))) as uPlot.AlignedData,
    [lines],
  );
  const frame = usePlot(
    data,
    {
      height,
      reference,
      series: (color) => lines.map(({ tone }) => ({ stroke: color(tone), width: 2, spanGaps: true, points: { show: false } })),
      onCursor: setAt,
    },
    `${height}/${reference}/${lines.map(({ tone }) => tone).join()}`,
  );
  const step = at === null ? null : data[0]?.[at];
  return (
    <figure class="curve" aria-label={`${label} of ${lines.map(({ name }) => name).join(", ")}`}>
      <figcaption class="row spread">
        <span class="curve-label">{label}</span>
        <span class="curve-value tabular small">
          {step == null
            ? " "
            : `step ${step}: ${lines.map((_, index) => formatNumber(data[index + 1]?.[at ?? 0] ?? null)).join(" · ")}`}
        </span>
      </figcaption>
      <div ref={frame} style={{ height }} />
    </figure>
  );
}

export interface Look {
  step: number;
  value: number;
  low: number;
  high: number;
}

/** A few measurements with their intervals. */
export function IntervalCurve({ looks, label, tone, maxStep, height = 190 }: { looks: Look[]; label: string; tone: string; maxStep?: number | undefined; height?: number }) {
  const [at, setAt] = useState<number | null>(null);
  const data = useMemo(
    () => [looks.map(({ step }) => step), looks.map(({ high }) => high), looks.map(({ low }) => low), looks.map(({ value }) => value)] as uPlot.AlignedData,
    [looks],
  );
  const frame = usePlot(
    data,
    {
      height,
      reference: 0,
      maxStep,
      series: (color) => [
        { stroke: color(tone), alpha: 0.35, width: 1, points: { show: false } },
        { stroke: color(tone), alpha: 0.35, width: 1, points: { show: false } },
        { stroke: color(tone), width: 2, points: { show: true, size: 7, fill: color(tone) } },
      ],
      bands: (color) => [{ series: [1, 2], fill: `color-mix(in srgb, ${color(tone)} 16%, transparent)` }],
      onCursor: setAt,
    },
    `${height}/${tone}/${maxStep}`,
  );
  const look = at === null ? looks.at(-1) : looks[at];
  return (
    <figure class="curve" aria-label={`${label}: ${looks.length} measurements`}>
      <figcaption class="row spread">
        <span class="curve-label">{label}</span>
        <span class="curve-value tabular">
          {look ? `step ${look.step}: ${formatNumber(look.value)} (${formatNumber(look.low)} to ${formatNumber(look.high)})` : "–"}
        </span>
      </figcaption>
      <div ref={frame} style={{ height }} />
    </figure>
  );
}

function lastNumber(values: (number | null)[]): number | null {
  for (let i = values.length - 1; i >= 0; i -= 1) {
    const value = values[i];
    if (value != null) return value;
  }
  return null;
}
