import type { Pipeline } from "../api/types";
import { bytes, count, duration, rate } from "../model/format";
import type { Live } from "../model/live";
import { byUrgency, origin } from "../model/words";
import { Build } from "./build";
import { State } from "./state";
import { Cell, type Head, Row, RowHead, Table } from "./table";
import { For } from "./time";

const HEADS: Head[] = [
  { label: "Pipeline" },
  { label: "State" },
  { label: "Records/s in", number: true },
  { label: "Rows/s out", number: true },
  { label: "Lag", number: true },
  { label: "Dead letters", number: true },
  { label: "Files", number: true },
  { label: "Last commit", number: true },
  { label: "Runs" },
];

interface Props {
  live: Live;
  chosen: string | undefined;
  choose: (name: string) => void;
}

export function Pipelines({ live, chosen, choose }: Props) {
  if (live.pipelines.length === 0) {
    return null;
  }
  return (
    <section aria-labelledby="pipelines">
      <h2 id="pipelines">Pipelines</h2>
      <Table caption="Pipelines, those that need attention first" heads={HEADS}>
        {byUrgency(live.pipelines).map((pipeline) => (
          <PipelineRow key={pipeline.name} live={live} pipeline={pipeline} chosen={pipeline.name === chosen} choose={choose} />
        ))}
      </Table>
    </section>
  );
}

interface RowProps {
  live: Live;
  pipeline: Pipeline;
  chosen: boolean;
  choose: (name: string) => void;
}

function PipelineRow({ live, pipeline, chosen, choose }: RowProps) {
  const { name, state, reason, since, lag, processed, committed, transforms } = pipeline;
  const rates = live.history.rates(name);
  const rows = Object.values(processed.rows ?? {}).reduce((all, rows) => all + rows, 0);
  return (
    <Row chosen={chosen}>
      <RowHead>
        <button type="button" class="choice" aria-pressed={chosen} title="Show its charts" onClick={() => choose(name)}>
          {name}
        </button>
        <div class="below">{origin(pipeline)}</div>
      </RowHead>
      <Cell label="State" below={<StateDetail live={live} since={since} reason={reason} />}>
        <State state={state} />
      </Cell>
      <Cell label="Records/s in" number below={`${count(processed.records)} in all`}>
        {rate(rates.records)}
      </Cell>
      <Cell label="Rows/s out" number below={`${count(rows)} in all`}>
        {rate(rates.rows)}
      </Cell>
      <Cell label="Lag" number below={lag ? duration(lag.seconds) : null}>
        {count(lag?.records)}
      </Cell>
      <Cell label="Dead letters" number below={rates.deadLetters === null ? null : `${rate(rates.deadLetters)}/s`}>
        {count(processed.rejected + processed.broken)}
      </Cell>
      <Cell label="Files" number below={bytes(pipeline.bytes)}>
        {count(pipeline.files)}
      </Cell>
      <Cell label="Last commit" number below={`${count(committed.records)} committed`}>
        {pipeline.last_commit_age_seconds == null ? "–" : `${duration(pipeline.last_commit_age_seconds)} ago`}
      </Cell>
      <Cell label="Runs">
        {transforms.map(({ component, digest, version }, place) => (
          // A chain may have a component twice.
          <div key={place} class="runs">
            {component} <Build digest={digest} version={version} />
          </div>
        ))}
      </Cell>
    </Row>
  );
}

function StateDetail({ live, since, reason }: { live: Live; since: string | null | undefined; reason: string | null | undefined }) {
  if (!since && !reason) {
    return null;
  }
  return (
    <>
      {since && (
        <div>
          <For ts={since} live={live} />
        </div>
      )}
      {reason && <div class="reason" title={reason}>{reason}</div>}
    </>
  );
}
