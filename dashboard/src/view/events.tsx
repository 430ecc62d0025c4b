import type { ComponentChildren } from "preact";
import type { HostEvent } from "../api/types";
import { milliseconds } from "../model/format";
import type { Live } from "../model/live";
import { details, text, words } from "../model/words";
import { Build } from "./build";
import { Icon, type Shape } from "./icon";
import { State } from "./state";
import { Clock } from "./time";

const LOOKS: Record<string, [shape: Shape, tone: string]> = {
  loaded: ["plus", "good"],
  refused: ["cross", "bad"],
  swapped: ["swap", "accent"],
  rolled_back: ["back", "warn"],
  state: ["ring", "idle"],
  defined: ["plus", "good"],
  definition_refused: ["cross", "bad"],
  removed: ["square", "idle"],
};

export function Events({ live }: { live: Live }) {
  return (
    <section aria-labelledby="events">
      <h2 id="events">Events</h2>
      {live.events.length === 0 ? (
        <p class="quiet">Nothing has happened since the host started.</p>
      ) : (
        <ol class="events" tabIndex={0} aria-labelledby="events">
          {live.events.map((event) => (
            <Entry key={event.id} live={live} event={event} />
          ))}
        </ol>
      )}
    </section>
  );
}

function Entry({ live, event }: { live: Live; event: HostEvent }) {
  const [shape, tone] = LOOKS[event.kind] ?? ["diamond", "idle"];
  return (
    <li data-kind={event.kind}>
      <Clock ts={event.ts} live={live} />
      <span class={`kind ${tone}`}>
        <Icon shape={shape} /> {words(event.kind)}
      </span>
      <div class="what">{tell(live, event)}</div>
    </li>
  );
}

function tell(live: Live, event: HostEvent): ComponentChildren {
  const named = (key: string) => {
    const digest = text(event, key);
    return digest ? <Build digest={digest} version={live.builds.version(digest)} /> : "none";
  };
  const component = <strong>{text(event, "component")}</strong>;
  switch (event.kind) {
    case "loaded":
      return (
        <>
          {component} {named("digest")} <span class="quiet">by {text(event, "road")}</span>
        </>
      );
    case "refused":
      return (
        <>
          {component} {named("digest")} <span class="quiet">by {text(event, "road")}</span>
          <p class="reason">{text(event, "reason")}</p>
        </>
      );
    case "rolled_back":
      return (
        <>
          {component} {named("from")} → {named("to")}
        </>
      );
    case "swapped":
      return (
        <>
          <strong>{text(event, "pipeline")}</strong>: {text(event, "component")} {named("old")} → {named("new")}
          {typeof event.pause_seconds === "number" && <Paused seconds={event.pause_seconds} />}
        </>
      );
    case "state":
      return (
        <>
          <strong>{text(event, "pipeline")}</strong> <State state={text(event, "state")} />
          <p class="reason">{text(event, "reason")}</p>
        </>
      );
    case "definition_refused":
      return (
        <>
          <strong>{text(event, "pipeline")}</strong>
          <p class="reason">{text(event, "reason")}</p>
        </>
      );
    case "defined":
    case "removed":
      return (
        <>
          <strong>{text(event, "pipeline")}</strong>
          {Array.isArray(event.changes) && event.changes.length > 0 && `: ${event.changes.join(", ")}`}
        </>
      );
    default:
      return <Generic event={event} />;
  }
}

function Paused({ seconds }: { seconds: number }) {
  return <div class="quiet">records waited {milliseconds(seconds)} for it</div>;
}

/** An event that this page does not know, as the host tells it. */
function Generic({ event }: { event: HostEvent }) {
  return (
    <dl class="details">
      {details(event).map(([key, value]) => (
        <div key={key}>
          <dt>{key}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
