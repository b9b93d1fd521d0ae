/** What every uPlot drawing here shares: axes in the theme's colours, ranges that do not jump, a dashed reference. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatNumber } from "../format";
import { theme } from "../theme";

export type Color = (name: string) => string;

export interface PlotShape {
  height: number;
  /** A horizontal line to read the curves against, e.g. 0.5 for an accuracy. */
  reference?: number | undefined;
  /** The step range of the whole run, so that a curve does not rescale while it grows. */
  maxStep?: number | undefined;
  series: (color: Color) => uPlot.Series[];
  bands?: (color: Color) => uPlot.Band[];
  /** Which point is under the pointer; null when none is. */
  onCursor: (index: number | null) => void;
}

/** Draws `data` into the element that the result refers to; `look` names everything that changes the drawing itself. */
export function usePlot(data: uPlot.AlignedData, shape: PlotShape, look: string) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(shape);
  latest.current = shape;
  const current = theme.value;

  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const { height, reference, maxStep, series, bands } = latest.current;
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
        series: [{}, ...series(color)],
        bands: bands?.(color) ?? [],
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
          setCursor: [(chart) => latest.current.onCursor(chart.cursor.idx ?? null)],
        },
      },
      data,
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
  }, [current, look]);

  useEffect(() => {
    plot.current?.setData(data);
  }, [data]);

  return frame;
}
