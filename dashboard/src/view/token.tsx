import { useState } from "preact/hooks";
import type { Live } from "../model/live";

/** Asks for the token of the API. It goes to this host alone, and is forgotten with the tab. */
export function TokenForm({ live }: { live: Live }) {
  const [token, type] = useState("");
  const give = (event: Event) => {
    event.preventDefault();
    live.giveToken(token);
  };
  return (
    <form class="token" onSubmit={give}>
      <h2>This host wants a token</h2>
      <p>It is the one whose SHA-256 is the host's setting `http.token_sha256`. This tab keeps it until you close it.</p>
      <label for="token">Token</label>
      <input id="token" type="password" autocomplete="off" required value={token} onInput={(event) => type(event.currentTarget.value)} />
      <button type="submit">Show the host</button>
      {live.trouble?.text && (
        <p class="bad" role="alert">
          {live.trouble.text}
        </p>
      )}
    </form>
  );
}
