import type { Live } from "../model/live";
import { byUrgency, needsAttention, origin } from "../model/words";
import { Icon } from "./icon";
import { State } from "./state";
import { For } from "./time";

/** Pipelines that somebody has to see to, the worst first, with the reasons. */
export function Attention({ live }: { live: Live }) {
  const all = byUrgency(live.pipelines.filter(needsAttention));
  const paused = live.pipelines.filter(({ state }) => state === "PAUSED").length;
  if (live.pipelines.length + live.strays.length === 0) {
    return null;
  }
  if (all.length + live.strays.length === 0) {
    return (
      <p class="calm">
        <Icon shape="check" /> Nothing needs attention{paused > 0 ? `; ${paused} paused` : ""}
      </p>
    );
  }
  return (
    <section class="attention" aria-labelledby="attention">
      <h2 id="attention">Needs attention</h2>
      <ul>
        {all.map(({ name, state, reason, since, refused, awaits_mending, awaits_component }) => (
          <li key={name}>
            <State state={state} /> <strong>{name}</strong>
            {since && (
              <span class="quiet">
                {" "}
                <For ts={since} live={live} />
              </span>
            )}
            {reason && <p class="reason">{reason}</p>}
            {(awaits_mending || awaits_component) && <p>It goes on by itself when that is mended.</p>}
            {refused && <p class="reason">Its newest definition is refused, the one before runs on: {refused}</p>}
          </li>
        ))}
        {live.strays.map((stray) => (
          <li key={stray.name ?? origin(stray)}>
            <strong>{stray.name ?? origin(stray)}</strong> is no pipeline
            <span class="quiet">
              {" "}
              <For ts={stray.since} live={live} />
            </span>
            <p class="reason">{stray.reason}</p>
          </li>
        ))}
      </ul>
    </section>
  );
}
