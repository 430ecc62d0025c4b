import { expect, test } from "vitest";
import type { HostEvent, Pipeline } from "../api/types";
import { History, SERIES } from "./history";

const pipeline = (name: string, records: number) =>
  ({ name, processed: { records, emitted: 0, dropped: 0, rejected: 0, broken: 0 }, lag: { records: 7 } }) as unknown as Pipeline;

test("a look right after another one, for an event, makes no peak", () => {
  const history = new History();
  history.look(0, 100, [pipeline("a", 0)]);
  history.look(1, 101, [pipeline("a", 1000)]);
  history.look(1.01, 101.01, [pipeline("a", 1500)]);
  history.look(2, 102, [pipeline("a", 2000)]);
  expect(history.ring("a")?.times()).toEqual([100, 101, 102]);
  expect(history.ring("a")?.values(SERIES.records)).toEqual([null, 1000, 1000]);
  expect(history.ring("a")?.values(SERIES.lagRecords)).toEqual([7, 7, 7]);
  expect(history.rates("a").records).toBe(1000);
});

test("a pipeline that is gone is forgotten, and a swap belongs to its pipeline", () => {
  const history = new History();
  history.look(0, 100, [pipeline("a", 0), pipeline("b", 0)]);
  history.look(1, 101, [pipeline("b", 5)]);
  expect(history.ring("a")).toBeUndefined();
  expect(history.rates("a").records).toBeNull();
  const swapped: HostEvent = { id: 1, ts: "now", kind: "swapped", pipeline: "b", new: "d" };
  history.happened(swapped, 101);
  history.happened({ ...swapped, kind: "loaded" }, 102);
  expect([history.swaps("a"), history.swaps("b")]).toEqual([[], [{ pipeline: "b", seconds: 101, digest: "d" }]]);
});
