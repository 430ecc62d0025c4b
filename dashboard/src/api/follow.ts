import type { Client } from "./client";
import { SseParser } from "./sse";
import type { HostEvent } from "./types";

/** The host gives a sign of life each 15 s: after this long without one, the connection is dead, whatever it looks like. */
const SILENCE_MS = 45_000;

/** Follows the events of the host, for as long as the connection holds. */
export class Follower {
  readonly #client: Client;
  readonly #happened: (event: HostEvent) => void;
  /** Where the next connection goes on. Ids rise over restarts of the host too. */
  #last = "";

  constructor(client: Client, happened: (event: HostEvent) => void) {
    this.#client = client;
    this.#happened = happened;
  }

  /** Returns or throws when the stream ended; called again, it goes on behind the last event. */
  async follow(connected: () => void): Promise<void> {
    const abort = new AbortController();
    let watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (this.#last !== "") {
        headers["Last-Event-ID"] = this.#last;
      }
      const answer = await this.#client.ask("/v1/events", abort.signal, headers);
      connected();
      const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new SseParser();
      for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
        for (const message of parser.push(piece.value)) {
          this.#last = message.id;
          this.#happened(JSON.parse(message.data) as HostEvent);
        }
      }
    } finally {
      clearTimeout(watchdog);
      abort.abort();
    }
  }
}
