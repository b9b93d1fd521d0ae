import { expect, it } from "vitest";
import { bestAndWorst } from "./ranking";

const candidate = (id: string, dpg: number | null) => ({ id, index: 0, image_url: "", scores: dpg === null ? null : { dpg } });

it("names the best and the worst, and neither of equals", () => {
  expect(bestAndWorst([candidate("a", 0.5), candidate("b", 0.9), candidate("c", 0.1), candidate("d", null)], "dpg")).toEqual({ best: "b", worst: "c" });
  expect(bestAndWorst([candidate("a", 0.5), candidate("b", 0.5)], "dpg")).toEqual({});
  expect(bestAndWorst([candidate("a", 0.5)], "dpg")).toEqual({});
});
