import { ago, clock } from "../model/format";
import type { Live } from "../model/live";

/** A time that the host told, as the time of day here. */
export function Clock({ ts, live }: { ts: string; live: Live }) {
  return (
    <time dateTime={ts} title={ts}>
      {clock(live.local(Date.parse(ts)), Date.now())}
    </time>
  );
}

/** How long ago something was that the host told. */
export function Ago({ ts, live }: { ts: string; live: Live }) {
  return (
    <time dateTime={ts} title={ts}>
      {ago((live.now() - Date.parse(ts)) / 1000)}
    </time>
  );
}
