import type { HostEvent, Pipeline } from "../api/types";
import { short } from "./format";

/** A text of an event, if it has one of that name. */
export function text(event: HostEvent, key: string): string {
  const value = event[key];
  return typeof value === "string" ? value : "";
}

/** An event in a sentence, for those who listen. */
export function announcement(event: HostEvent): string {
  switch (event.kind) {
    case "loaded":
      return `Component ${text(event, "component")} ${text(event, "version")} is loaded`;
    case "refused":
      return `A build of ${text(event, "component")} is refused: ${text(event, "reason")}`;
    case "rolled_back":
      return `Component ${text(event, "component")} is rolled back to ${short(text(event, "to"))}`;
    case "swapped":
      return `Pipeline ${text(event, "pipeline")} runs another build of ${text(event, "component")}`;
    case "state":
      return stateChange(text(event, "pipeline"), text(event, "state"), text(event, "reason"));
    case "definition_refused":
      return `A definition of ${text(event, "pipeline")} is refused: ${text(event, "reason")}`;
    default:
      return `${words(event.kind)} ${text(event, "pipeline") || text(event, "component")}`.trim();
  }
}

/** The pipelines whose state changed between two looks, in sentences. */
export function changes(before: Pipeline[], after: Pipeline[]): string[] {
  const known = new Map(before.map((pipeline) => [pipeline.name, pipeline.state]));
  const changed = after.filter(({ name, state }) => known.has(name) && known.get(name) !== state);
  return changed.map(({ name, state, reason }) => stateChange(name, state, reason));
}

/** The event and the next look say the same: it is told once. */
function stateChange(name: string, state: string, reason?: string | null): string {
  return `Pipeline ${name} is ${state}${reason ? `: ${reason}` : ""}`;
}

/** What the host calls `rolled_back`, as words. */
export function words(kind: string): string {
  return kind.replaceAll("_", " ");
}

/** What an event of a kind that this page does not know says, in the order in which the host says it. */
export function details(event: HostEvent): [string, string][] {
  const { id: _id, ts: _ts, kind: _kind, ...rest } = event;
  return Object.entries(rest)
    .filter(([, value]) => value !== null && value !== "")
    .map(([key, value]) => [words(key), typeof value === "string" ? value : JSON.stringify(value)]);
}

/** Where a pipeline is defined. */
export function origin({ origin }: Pick<Pipeline, "origin">): string | null {
  if (!origin) {
    return null;
  }
  const [[kind, where] = []] = typeof origin === "string" ? [[origin, true]] : Object.entries(origin);
  const known = kind === "api" || kind === "rest" ? "by the API" : kind;
  return (typeof where === "string" ? where : known) ?? null;
}

/** States in the order in which a person must look at them; those of a newer host come between. */
const ORDER = ["FAILED", "DEGRADED", "STOPPED", "PAUSED", "RUNNING"];

/** Whether somebody has to see to a pipeline. A paused one was paused by somebody. */
export function needsAttention({ state, refused }: Pipeline): boolean {
  return !["RUNNING", "PAUSED"].includes(state) || Boolean(refused);
}

/** The worst first, then by name. */
export function byUrgency(pipelines: Pipeline[]): Pipeline[] {
  const place = ({ state }: Pipeline) => (ORDER.includes(state) ? ORDER.indexOf(state) : 2.5);
  return [...pipelines].sort((a, b) => place(a) - place(b) || a.name.localeCompare(b.name));
}
