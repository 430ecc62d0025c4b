import type { Live } from "../model/live";

/** Tells those who listen what those who look see: a change of state, a swap, a refusal. */
export function Announcer({ live }: { live: Live }) {
  return (
    <p class="unseen" role="status" aria-live="polite">
      {live.announced}
    </p>
  );
}
