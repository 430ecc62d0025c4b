import { bytes, count, rate } from "../model/format";
import type { Live } from "../model/live";
import type { Rates } from "../model/rates";

/** The whole host in a row of numbers. */
export function Figures({ live }: { live: Live }) {
  const { pipelines } = live;
  if (pipelines.length === 0) {
    const waits = live.connection === "live" ? "This host has no pipelines." : "";
    return <p class="calm">{waits}</p>;
  }
  const sum = (numbers: number[]) => numbers.reduce((all, number) => all + number, 0);
  // What one pipeline does not know makes no number of the others wrong.
  const known = (numbers: (number | null | undefined)[]) => {
    const told = numbers.filter((number) => number !== null && number !== undefined);
    return told.length > 0 ? sum(told) : null;
  };
  const all = pipelines.map(({ name }) => live.history.rates(name));
  const rates = (key: keyof Rates) => rate(known(all.map((found) => found[key])));
  const running = pipelines.filter(({ state }) => state === "RUNNING").length;
  const lost = sum(pipelines.map(({ processed }) => processed.rejected + processed.broken));
  return (
    <dl class="figures">
      <Figure name="Pipelines running" value={`${running} of ${pipelines.length}`} />
      <Figure name="Records/s in" value={rates("records")} />
      <Figure name="Rows/s out" value={rates("rows")} />
      <Figure name="Lag, records" value={count(known(pipelines.map(({ lag }) => lag?.records)))} />
      <Figure name="Dead letters/s" value={rates("deadLetters")} below={`${count(lost)} since the start`} />
      <Figure
        name="Files written"
        value={count(sum(pipelines.map(({ files }) => files)))}
        below={bytes(sum(pipelines.map((pipeline) => pipeline.bytes)))}
      />
    </dl>
  );
}

function Figure({ name, value, below }: { name: string; value: string; below?: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value} {below && <small>{below}</small>}
      </dd>
    </div>
  );
}
