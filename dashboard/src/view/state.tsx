import { Icon, type Shape } from "./icon";

const LOOKS: Record<string, [shape: Shape, tone: string]> = {
  RUNNING: ["dot", "good"],
  PAUSED: ["bars", "idle"],
  STOPPED: ["square", "idle"],
  DEGRADED: ["triangle", "warn"],
  FAILED: ["cross", "bad"],
};

/** The state of a pipeline: a word and a shape; the colour only helps. */
export function State({ state }: { state: string }) {
  const [shape, tone] = LOOKS[state] ?? ["diamond", "idle"];
  return (
    <span class={`state ${tone}`} data-state={state}>
      <Icon shape={shape} /> {state}
    </span>
  );
}
