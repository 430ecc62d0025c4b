import type { Component, Refusal } from "../api/types";
import { bytes, count } from "../model/format";
import type { Live } from "../model/live";
import { Build } from "./build";
import { Icon } from "./icon";
import { Cell, type Head, Row, RowHead, Table } from "./table";
import { Clock, For } from "./time";

const HEADS: Head[] = [
  { label: "Component" },
  { label: "Current build" },
  { label: "Builds", number: true },
  { label: "Used by" },
];
/** Refused builds that are open to read; earlier ones are a click away. */
const OPEN = 3;

export function Components({ live }: { live: Live }) {
  const refused = live.components.filter((component) => component.refused.length > 0);
  return (
    <section aria-labelledby="components">
      <h2 id="components">Components</h2>
      {live.components.length === 0 ? (
        <p class="quiet">None yet. Copy a component into the host's folder of transforms.</p>
      ) : (
        <Table caption="Components and their current builds" heads={HEADS}>
          {live.components.map((component) => (
            <ComponentRow key={component.name} live={live} component={component} />
          ))}
        </Table>
      )}
      {refused.length > 0 && <h3>Refused builds</h3>}
      {refused.map(({ name, refused }) => (
        <Refused key={name} live={live} name={name} refused={[...refused].reverse()} />
      ))}
    </section>
  );
}

function ComponentRow({ live, component }: { live: Live; component: Component }) {
  const { name, current, refused, used_by } = component;
  const from = current && `${current.road === "folder" ? "from the folder" : current.road}, ${bytes(current.bytes)}`;
  return (
    <Row>
      <RowHead>{name}</RowHead>
      <Cell
        label="Current build"
        below={
          current && (
            <>
              {from}, <For ts={current.chosen} live={live} />
            </>
          )
        }
      >
        {current ? <Build digest={current.digest} version={current.version} /> : "none was accepted"}
      </Cell>
      <Cell label="Builds" number below={refused.length > 0 ? `${count(refused.length)} refused` : null}>
        {count(live.versions.get(name))}
      </Cell>
      <Cell label="Used by">{used_by.length > 0 ? used_by.join(", ") : <span class="quiet">no pipeline</span>}</Cell>
    </Row>
  );
}

function Refused({ live, name, refused }: { live: Live; name: string; refused: Refusal[] }) {
  const earlier = refused.slice(OPEN);
  return (
    <>
      <Refusals live={live} name={name} refused={refused.slice(0, OPEN)} />
      {earlier.length > 0 && (
        <details>
          <summary>
            {earlier.length} earlier of {name}
          </summary>
          <Refusals live={live} name={name} refused={earlier} />
        </details>
      )}
    </>
  );
}

function Refusals({ live, name, refused }: { live: Live; name: string; refused: Refusal[] }) {
  return (
    <ul class="refusals">
      {refused.map(({ digest, reason, at }) => (
        <li key={digest}>
          <span class="bad">
            <Icon shape="cross" />
          </span>
          <div>
            <strong>{name}</strong> <Build digest={digest} /> <Clock ts={at} live={live} />
            <p class="reason">{reason}</p>
          </div>
        </li>
      ))}
    </ul>
  );
}
