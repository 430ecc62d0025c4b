import type { Connection, Live } from "../model/live";
import { Icon, type Shape } from "./icon";

const TELLS: Record<Connection, [shape: Shape, tone: string, words: string]> = {
  connecting: ["ring", "idle", "connecting"],
  live: ["dot", "good", "live"],
  starting: ["ring", "idle", "the host is starting"],
  lost: ["cross", "bad", "no connection"],
  token: ["square", "idle", "a token is needed"],
  refused: ["cross", "bad", "refused"],
};

export function Header({ live }: { live: Live }) {
  const [shape, tone, words] = TELLS[live.connection];
  return (
    <header>
      <h1>
        Tidemill <span class="quiet">{live.hostVersion}</span>
      </h1>
      <p class={`connection ${tone}`} data-connection={live.connection}>
        <Icon shape={shape} /> {words}
      </p>
      {live.connection === "lost" && (
        <p class="hint">The host does not answer. What is shown is the last that it said; the page tries on by itself.</p>
      )}
      {live.connection === "refused" && live.trouble && (
        <p class="hint">
          {live.trouble.text}. {live.trouble.suggestion}
        </p>
      )}
    </header>
  );
}
