/** Centred moving average over `2·reach + 1` points (fewer at the ends); gaps stay gaps. */
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
    // The window shrinks on both sides alike near an end, so that the ends are not pulled inward.
    const half = Math.min(reach, i, values.length - 1 - i);
    const count = (counts[i + half + 1] as number) - (counts[i - half] as number);
    return ((sums[i + half + 1] as number) - (sums[i - half] as number)) / count;
  });
}
