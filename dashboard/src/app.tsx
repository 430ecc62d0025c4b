import type { Live } from "./model/live";
import { Announcer } from "./view/announcer";
import { Attention } from "./view/attention";
import { Charts } from "./view/charts";
import { Components } from "./view/components";
import { Events } from "./view/events";
import { Figures } from "./view/figures";
import { Header } from "./view/header";
import { Pipelines } from "./view/pipelines";
import { TokenForm } from "./view/token";
import { useState } from "preact/hooks";

/** The page: what needs a person first, then what runs, then what happened. Drawn anew whenever something changed. */
export function App({ live }: { live: Live }) {
  const [chosen, choose] = useState("");
  const pipeline = live.pipelines.find(({ name }) => name === chosen) ?? live.pipelines[0];
  return (
    <>
      <Header live={live} />
      <Announcer live={live} />
      <main class={live.connection === "live" ? "" : "stale"}>
        {live.connection === "token" ? (
          <TokenForm live={live} />
        ) : (
          <>
            <Attention live={live} />
            <Figures live={live} />
            <Pipelines live={live} chosen={pipeline?.name} choose={choose} />
            {pipeline && <Charts live={live} pipeline={pipeline} choose={choose} />}
            <div class="columns">
              <Components live={live} />
              <Events live={live} />
            </div>
          </>
        )}
      </main>
    </>
  );
}
