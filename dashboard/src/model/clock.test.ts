import { expect, test } from "vitest";
import { clockOffset } from "./clock";

test("only a real difference of the clocks counts", () => {
  const now = Date.parse("2026-11-27T12:00:00.700Z");
  expect(clockOffset("Fri, 27 Nov 2026 12:00:00 GMT", now)).toBe(0);
  expect(clockOffset("Fri, 27 Nov 2026 12:01:00 GMT", now)).toBe(59_300);
  expect([clockOffset(null, now), clockOffset("soon", now)]).toEqual([0, 0]);
});
