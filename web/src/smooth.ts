/** Moving average over `2·reach + 1` points, cut off at the ends; gaps stay gaps. */
export function smooth(values: (number | null)[], reach: number): (number | null)[] {
  const sums = [0];
  const counts = [0];
  values.forEach((value, i) => {
    const known = value != null && Number.isFinite(value);
    sums.push((sums[i] as number) + (known ? value : 0));
    counts.push((counts[i] as number) + (known ? 1 : 0));
  });
  return values.map((value, i) => {
    if (value == null || !Number.isFinite(value)) return null;
    const from = Math.max(0, i - reach);
    const to = Math.min(values.length, i + reach + 1);
    return ((sums[to] as number) - (sums[from] as number)) / ((counts[to] as number) - (counts[from] as number));
  });
}
