import { expect, test } from "vitest";
import type { HostEvent, Pipeline } from "../api/types";
import { announcement, byUrgency, changes, details, needsAttention, origin } from "./words";

const pipeline = (name: string, state: string, more: Partial<Pipeline> = {}) => ({ name, state, ...more }) as Pipeline;

test("who needs attention comes first, and a paused pipeline needs none", () => {
  const all = ["RUNNING", "PAUSED", "SLEEPY", "STOPPED", "DEGRADED", "FAILED"].map((state) => pipeline(`p-${state}`, state));
  const states = byUrgency(all).map(({ state }) => state);
  expect(states).toEqual(["FAILED", "DEGRADED", "STOPPED", "SLEEPY", "PAUSED", "RUNNING"]);
  expect(all.filter(needsAttention)).toHaveLength(4);
  expect(needsAttention(pipeline("a", "RUNNING", { refused: "unknown key" }))).toBe(true);
});

test("a change of state is told, a new pipeline and a standing one are not", () => {
  const before = [pipeline("a", "RUNNING"), pipeline("b", "RUNNING")];
  const after = [pipeline("a", "FAILED", { reason: "the log forked" }), pipeline("b", "RUNNING"), pipeline("c", "FAILED")];
  const told = "Pipeline a is FAILED: the log forked";
  expect(changes(before, after)).toEqual([told]);
  const event = { id: 1, ts: "now", kind: "state", pipeline: "a", state: "FAILED", reason: "the log forked" };
  expect(announcement(event), "the event says it in the same words").toBe(told);
});

test("an event of an unknown kind is told with all that it says", () => {
  const event: HostEvent = { id: 1, ts: "now", kind: "lane_halted", lane: "t/3", tries: 2, help: null };
  expect(announcement(event)).toBe("lane halted");
  expect(details(event)).toEqual([["lane", "t/3"], ["tries", "2"]]);
});

test("where a pipeline is defined is told as far as the host tells it", () => {
  const origins = [undefined, null, { file: "pipelines/a.yaml" }, { rest: true }, "api", { other: 1 }];
  expect(origins.map((of) => origin(pipeline("a", "RUNNING", { origin: of })))).toEqual(
    [null, null, "pipelines/a.yaml", "by the API", "by the API", "other"]);
});
