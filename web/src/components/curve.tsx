/** One metric over the steps, drawn by uPlot: the points faint, their moving average strong. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatNumber } from "../format";
import { smooth } from "../smooth";
import { theme } from "../theme";

export interface CurveProps {
  steps: number[];
  values: (number | null)[];
  label: string;
  /** A horizontal line to read the curve against, e.g. 0.5 for an accuracy. */
  reference?: number | undefined;
  tone?: string;
  height?: number;
  /** The step range of the whole run, so that the curve does not rescale while it grows. */
  maxStep?: number | undefined;
}

export function Curve({ steps, values, label, reference, tone = "accent", height = 150, maxStep }: CurveProps) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const averaged = useMemo(() => smooth(values, Math.max(1, Math.round(values.length / 25))), [values]);
  const current = theme.value;
  const last = lastNumber(averaged);
  const [hovered, setHovered] = useState<string | null>(null);

  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: color("ink-3"),
      font: "11px 'Inter Variable', system-ui, sans-serif",
      grid: { stroke: color("line"), width: 1 },
      ticks: { show: false },
      gap: 4,
    };
    const chart = new uPlot(
      {
        width: element.clientWidth,
        height,
        padding: [8, 14, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: {
          x: { time: false, range: (_chart, low, high) => [Math.min(low ?? 0, 0), Math.max(maxStep ?? 0, high ?? 1, 1)] },
          y: {
            range: (_chart, low, high) => {
              if (low == null || high == null) return [0, 1];
              const bottom = reference === undefined ? low : Math.min(low, reference);
              const top = reference === undefined ? high : Math.max(high, reference);
              const pad = (top - bottom || Math.abs(top) || 1) * 0.08;
              return [bottom - pad, top + pad];
            },
          },
        },
        axes: [
          { ...axis, size: 26, space: 60 },
          { ...axis, size: 52, space: 34, values: (_chart, ticks) => ticks.map((tick) => formatNumber(tick)) },
        ],
        series: [
          {},
          { stroke: color(tone), alpha: 0.28, width: 1, points: { show: false } },
          { stroke: color(tone), width: 2, points: { show: (_chart, _series, from, to) => to - from < 2 } },
        ],
        hooks: {
          drawClear: [
            (chart) => {
              if (reference === undefined) return;
              const y = chart.valToPos(reference, "y", true);
              const { ctx, bbox } = chart;
              ctx.save();
              ctx.strokeStyle = color("line-strong");
              ctx.setLineDash([4, 4]);
              ctx.beginPath();
              ctx.moveTo(bbox.left, y);
              ctx.lineTo(bbox.left + bbox.width, y);
              ctx.stroke();
              ctx.restore();
            },
          ],
          setCursor: [
            (chart) => {
              const at = chart.cursor.idx;
              const value = at == null ? null : (chart.data[1]?.[at] as number | null | undefined);
              setHovered(value == null || at == null ? null : `step ${chart.data[0][at]}: ${formatNumber(value)}`);
            },
          ],
        },
      },
      [[], [], []],
      element,
    );
    plot.current = chart;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) chart.setSize({ width: element.clientWidth, height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [current, height, reference, tone, maxStep]);

  useEffect(() => {
    plot.current?.setData([steps, values, averaged] as uPlot.AlignedData);
  }, [steps, values, averaged, current, height, reference, tone, maxStep]);

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

function lastNumber(values: (number | null)[]): number | null {
  for (let i = values.length - 1; i >= 0; i -= 1) {
    const value = values[i];
    if (value != null) return value;
  }
  return null;
}
