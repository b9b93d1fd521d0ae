/** The sampling path of a picture beside the path of its inversion: how far apart, in a plane, and as pictures. */
import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { InversionPaths } from "../api/types";
import { formatNumber, formatPercent } from "../format";
import { fitPoints } from "../fit-points";
import { Picture } from "./basics";
import { usePlot } from "./plot";

const WIDTH = 560;
const HEIGHT = 300;

/** Place of the value in `timesteps` that is nearest to `timestep`. */
function nearest(timesteps: number[], timestep: number): number {
  let best = 0;
  timesteps.forEach((value, place) => {
    if (Math.abs(value - timestep) < Math.abs((timesteps[best] ?? 0) - timestep)) best = place;
  });
  return best;
}

function Deviation({ paths, onHover }: { paths: InversionPaths; onHover: (timestep: number | null) => void }) {
  const points = useMemo(() => paths.inverted.filter(({ deviation }) => deviation != null), [paths]);
  const data = useMemo(() => [points.map(({ timestep }) => timestep), points.map(({ deviation }) => deviation ?? null)] as uPlot.AlignedData, [points]);
  const [at, setAt] = useState<number | null>(null);
  const furthest = points.reduce((old, point) => ((point.deviation ?? 0) > (old?.deviation ?? -1) ? point : old), points[0]);
  const shown = at === null ? furthest : points[at];
  const frame = usePlot(
    data,
    {
      height: HEIGHT,
      reference: 0,
      maxStep: 1000,
      series: (color) => [{ stroke: color("attribute"), width: 2, points: { show: true, size: 5, fill: color("attribute") } }],
      onCursor: (place) => {
        setAt(place);
        onHover(place === null ? null : (points[place]?.timestep ?? null));
      },
    },
    `${HEIGHT}/deviation`,
  );
  return (
    <figure class="curve" aria-label={`Deviation over ${points.length} timesteps, at most ${formatNumber(furthest?.deviation)}`}>
      <figcaption class="row spread">
        <span class="curve-label">Deviation by timestep</span>
        <span class="curve-value tabular">
          {shown ? `${at === null ? "at most, at" : "at"} t = ${shown.timestep}: ${formatNumber(shown.deviation)}` : "–"}
        </span>
      </figcaption>
      <div ref={frame} style={{ height: HEIGHT }} />
      <p class="small faint">‖inverted − sampled‖ / ‖sampled‖ at the same noise level; image at the left, noise at the right</p>
    </figure>
  );
}

function Plane({ paths, timestep }: { paths: InversionPaths; timestep: number | null }) {
  const { sampled, inverted } = paths;
  const place = useMemo(() => fitPoints([...sampled, ...inverted], WIDTH, HEIGHT, 26), [paths]);
  const line = (points: { x: number; y: number }[]) => points.map((point) => place(point).join()).join(" ");
  const ends = [
    { name: "noise sampled from", point: sampled[0], tone: "trained", above: true },
    { name: "noise inverted to", point: inverted.at(-1), tone: "attribute", above: false },
    { name: "image", point: inverted[0], tone: "ink", above: true },
  ];
  const lit =
    timestep === null
      ? []
      : [sampled[nearest(sampled.map((one) => one.timestep), timestep)], inverted[nearest(inverted.map((one) => one.timestep), timestep)]];
  return (
    <figure class="curve">
      <figcaption class="row spread">
        <span class="curve-label">Both paths, projected</span>
        <span class="row small">
          <span class="path-key" style={{ "--tone": "var(--trained)" }}>
            sampled
          </span>
          <span class="path-key path-key-dashed" style={{ "--tone": "var(--attribute)" }}>
            inverted
          </span>
        </span>
      </figcaption>
      <svg
        class="plane"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={`The sampling path of ${sampled.length} states and the inversion of ${inverted.length}, on their first two principal components`}
      >
        <polyline points={line(sampled)} class="path" style={{ "--tone": "var(--trained)" }} />
        <polyline points={line(inverted)} class="path path-dashed" style={{ "--tone": "var(--attribute)" }} />
        {[
          { points: sampled, tone: "trained" },
          { points: inverted, tone: "attribute" },
        ].flatMap(({ points, tone }) =>
          points.map((point, index) => {
            const [x, y] = place(point);
            return (
              <circle key={`${tone}${index}`} cx={x} cy={y} r={2.4} fill={`var(--${tone})`}>
                <title>{`${tone === "trained" ? "sampled" : "inverted"}, t = ${point.timestep}`}</title>
              </circle>
            );
          }),
        )}
        {lit.map((point, index) => {
          if (!point) return null;
          const [x, y] = place(point);
          return <circle key={index} cx={x} cy={y} r={6} fill="none" stroke={`var(--${index === 0 ? "trained" : "attribute"})`} stroke-width={2} />;
        })}
        {ends.map(({ name, point, tone, above }) => {
          if (!point) return null;
          const [x, y] = place(point);
          const end = x > WIDTH / 2;
          return (
            <text key={name} x={x + (end ? -8 : 8)} y={y + (above ? -9 : 18)} text-anchor={end ? "end" : "start"} class="plane-text" fill={`var(--${tone})`}>
              {name}
            </text>
          );
        })}
      </svg>
      <p class="small faint">
        first two principal components of all states; across {formatPercent(paths.explained_variance[0])}, up {formatPercent(paths.explained_variance[1])} of the
        variance
      </p>
    </figure>
  );
}

function Pictures({ paths }: { paths: InversionPaths }) {
  return (
    <div class="path-pictures" tabIndex={0} role="group" aria-label="Decoded states">
      <span class="path-name small">
        <span class="path-key" style={{ "--tone": "var(--trained)" }}>
          sampled
        </span>
      </span>
      <span class="path-name small">
        <span class="path-key path-key-dashed" style={{ "--tone": "var(--attribute)" }}>
          inverted
        </span>
      </span>
      <span class="path-name under">timestep</span>
      {paths.pictures.map((pictures, place) => [
        pictures.sampled_url ? (
          <Picture key={`s${place}`} src={pictures.sampled_url} alt={`Sampled, at timestep ${pictures.timestep}`} />
        ) : (
          <div key={`s${place}`} class="picture picture-none" title="Sampling began with less noise" />
        ),
        <Picture key={`i${place}`} src={pictures.inverted_url} alt={`Inverted, at timestep ${pictures.timestep}`} />,
        <span key={`t${place}`} class="under">
          {place === 0 ? "image" : pictures.timestep}
        </span>,
      ])}
    </div>
  );
}

export function InversionFigure({ paths }: { paths: InversionPaths }) {
  const [timestep, setTimestep] = useState<number | null>(null);
  const figures = [
    { label: "Noise inverted to, std. dev.", value: formatNumber(paths.terminal_std), note: "1 is noise as sampling begins with" },
    { label: "Noise inverted to, correlation", value: formatNumber(paths.terminal_autocorrelation), note: "of neighbouring elements; 0 is noise" },
    { label: "Noise sampled from, std. dev.", value: formatNumber(paths.initial_std), note: `correlation ${formatNumber(paths.initial_autocorrelation)}` },
    { label: "Round trip", value: formatNumber(paths.reconstruction_error), note: `mean square; the image has variance ${formatNumber(paths.latent_variance)}` },
  ];
  return (
    <div class="stack" data-testid="inversion-figure">
      <div class="path-figures">
        {figures.map(({ label, value, note }) => (
          <div key={label}>
            <span class="figure-label">{label}</span>
            <span class="figure figure-small tabular">{value}</span>
            <span class="small faint">{note}</span>
          </div>
        ))}
      </div>
      <div class="path-charts">
        <Deviation paths={paths} onHover={setTimestep} />
        <Plane paths={paths} timestep={timestep} />
      </div>
      <Pictures paths={paths} />
    </div>
  );
}
