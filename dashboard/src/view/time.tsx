import { clock, duration } from "../model/format";
import type { Live } from "../model/live";

/** A time that the host told, as the time of day here. */
export function Clock({ ts, live }: { ts: string; live: Live }) {
  return (
    <time dateTime={ts} title={ts}>
      {clock(live.local(Date.parse(ts)), Date.now())}
    </time>
  );
}

/** How long something has lasted that the host told the start of. */
export function For({ ts, live }: { ts: string; live: Live }) {
  return (
    <time dateTime={ts} title={ts}>
      for {duration(Math.floor((live.now() - Date.parse(ts)) / 1000))}
    </time>
  );
}
