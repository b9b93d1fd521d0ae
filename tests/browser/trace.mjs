// What Chromium's own trace says of a stretch of time: frames on the screen, and work of the page's thread.

/** Runs `during` under a trace of `page`; times are in milliseconds. */
export async function traced(page, during) {
  const client = await page.context().newCDPSession(page);
  const events = [];
  client.on("Tracing.dataCollected", ({ value }) => events.push(...value));
  const complete = new Promise((resolve) => client.once("Tracing.tracingComplete", resolve));
  await client.send("Tracing.start", {
    transferMode: "ReportEvents",
    traceConfig: { includedCategories: ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline.frame", "__metadata"] },
  });
  const result = await during();
  await client.send("Tracing.end");
  await complete;
  const draws = events
    .filter(({ name }) => name === "DrawFrame")
    .map(({ ts }) => ts / 1000)
    .sort((a, b) => a - b);
  const pages = new Set(events.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(({ pid, tid }) => `${pid}/${tid}`));
  const tasks = events
    .filter(({ name, pid, tid, dur }) => (name === "RunTask" || name === "ThreadControllerImpl::RunTask") && dur && pages.has(`${pid}/${tid}`))
    .map(({ dur }) => dur / 1000);
  const sorted = (values) => values.toSorted((a, b) => a - b);
  const gaps = sorted(draws.slice(1).map((at, k) => at - draws[k]));
  return {
    result,
    frames: draws.length,
    seconds: draws.length > 1 ? (draws.at(-1) - draws[0]) / 1000 : 0,
    gaps,
    tasks: sorted(tasks),
  };
}

export const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
