import type { Pipeline } from "../api/types";
import { compact, count, duration, rate, short } from "../model/format";
import { SERIES } from "../model/history";
import type { Live } from "../model/live";
import { Chart, type Curve } from "./chart";

const RATE = { format: rate, axis: compact };
const FLOW: Curve[] = [
  { name: "in", series: SERIES.records, tone: "--curve-1", fill: true, ...RATE },
  { name: "out", series: SERIES.rows, tone: "--curve-2", dash: [6, 4], ...RATE },
];
const LAG: Curve[] = [
  { name: "records", series: SERIES.lagRecords, tone: "--curve-1", fill: true, format: count, axis: compact },
  { name: "seconds", series: SERIES.lagSeconds, tone: "--curve-3", dash: [6, 4], right: true, format: duration, axis: duration },
];
const DEAD: Curve[] = [{ name: "dead letters", series: SERIES.deadLetters, tone: "--curve-4", fill: true, ...RATE }];

interface Props {
  live: Live;
  pipeline: Pipeline;
  choose: (name: string) => void;
}

/** The last quarter of an hour of one pipeline, with its swaps. */
export function Charts({ live, pipeline, choose }: Props) {
  const { name } = pipeline;
  const swaps = live.history.swaps(name).map(({ seconds, digest }) => {
    return { seconds, label: `→ ${live.builds.version(digest) ?? short(digest)}` };
  });
  const shared = { ring: live.history.ring(name), marks: swaps };
  return (
    <section aria-labelledby="charts">
      <div class="title">
        <h2 id="charts">Last 15 minutes</h2>
        {live.pipelines.length > 1 ? (
          <label>
            of{" "}
            <select value={name} onChange={(event) => choose(event.currentTarget.value)}>
              {live.pipelines.map((other) => (
                <option key={other.name} value={other.name}>
                  {other.name}
                </option>
              ))}
            </select>
          </label>
        ) : (
          <span class="quiet">of {name}</span>
        )}
        {swaps.length > 0 && (
          <span class="quiet key">
            <span class="mark" aria-hidden="true" /> another build
          </span>
        )}
      </div>
      <div class="charts">
        {/* A pipeline of its own gets charts of its own: nothing of the one before is left in them. */}
        <Chart key={`${name} flow`} title="Records and rows a second" curves={FLOW} {...shared} />
        <Chart key={`${name} lag`} title="Lag" curves={LAG} {...shared} />
        <Chart key={`${name} dead`} title="Dead letters a second" curves={DEAD} {...shared} />
      </div>
    </section>
  );
}
