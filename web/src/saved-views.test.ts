import { describe, expect, test } from "vitest";
import { addressOfView, normalQuery, readViews, withView } from "./saved-views";

describe("saved views", () => {
  test("the same conditions in another order are the same view", () => {
    expect(normalQuery("?sort=spread&label=dog")).toBe(normalQuery("label=dog&sort=spread&view=Dogs"));
  });
  test("a name stands once", () => {
    const once = withView([], " Dogs ", "label=dog");
    expect(withView(once, "Dogs", "?label=dog&split=train")).toEqual([{ name: "Dogs", query: "label=dog&split=train" }]);
    expect(withView(once, "  ", "label=cat")).toBe(once);
  });
  test("what is kept badly is left out", () => {
    expect(readViews(null)).toEqual([]);
    expect(readViews("{")).toEqual([]);
    expect(readViews('{"name": "x"}')).toEqual([]);
    expect(readViews('[{"name": "x", "query": "a=1"}, {"name": 3}, null]')).toEqual([{ name: "x", query: "a=1" }]);
  });
  test("goes by an address and comes back", () => {
    const view = { name: "Red & blue", query: normalQuery("phrase=a red thing left of a blue thing&min_score=0.3") };
    const search = new URL(addressOfView("/graphs", view), "http://localhost").search;
    expect(new URLSearchParams(search).get("view")).toBe("Red & blue");
    expect(normalQuery(search)).toBe(view.query);
  });
});
