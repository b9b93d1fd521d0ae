/** Curves of different runs on one axis: every step that any of them has, and gaps where one has none. */

export function alignSteps(curves: { steps: number[]; values: (number | null)[] }[]): [number[], ...(number | null)[][]] {
  const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
  const place = new Map(steps.map((step, index) => [step, index]));
  const columns = curves.map((curve) => {
    const column: (number | null)[] = steps.map(() => null);
    curve.steps.forEach((step, index) => {
      column[place.get(step) ?? 0] = curve.values[index] ?? null;
    });
    return column;
  });
  return [steps, ...columns];
}
