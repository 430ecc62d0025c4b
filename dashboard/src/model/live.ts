import { ApiError, Client } from "../api/client";
import { Follower } from "../api/follow";
import type { Component, HostEvent, Pipeline, Stray, Versions } from "../api/types";
import { clockOffset } from "./clock";
import { History } from "./history";
import { Builds } from "./builds";
import { backOff, Pause } from "./pause";
import { announcement, changes } from "./words";

/** How the page and the host stand to each other. */
export type Connection = "connecting" | "live" | "starting" | "lost" | "token" | "refused";

const POLL_MS = 1000;
const COMPONENTS_MS = 10_000;
const TIMEOUT_MS = 5000;
/** Events that the page keeps; the host keeps more. */
const EVENTS = 200;

/** All that the page shows, kept up to date for as long as it is open. */
export class Live {
  connection: Connection = "connecting";
  /** Why the connection is not live, and what to do. */
  trouble: { text: string; suggestion: string } | null = null;
  hostVersion: string | null = null;
  pipelines: Pipeline[] = [];
  strays: Stray[] = [];
  components: Component[] = [];
  /** Accepted builds of a component, by its name. */
  versions = new Map<string, number>();
  /** The newest first. */
  events: HostEvent[] = [];
  /** What a screen reader says next. */
  announced = "";
  readonly history = new History();
  readonly builds = new Builds();

  readonly #client = new Client();
  readonly #opened = Date.now();
  readonly #changed: () => void;
  readonly #pollPause = new Pause();
  readonly #followPause = new Pause();
  readonly #componentsPause = new Pause();
  readonly #counted = new Map<string, string>();
  #clockOffset = 0;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** The host's time. */
  now(): number {
    return Date.now() + this.#clockOffset;
  }

  /** Moves a time of the host to the browser's clock, by which samples are noted. */
  local(hostTime: number): number {
    return hostTime - this.#clockOffset;
  }

  /** Runs as long as the page does. */
  start(): void {
    void this.#poll();
    void this.#follow();
    void this.#watchComponents();
    document.addEventListener("visibilitychange", () => this.#pollPause.wake());
  }

  /** Takes the token that a person typed. */
  giveToken(token: string): void {
    this.#client.token = token.trim();
    this.#become("connecting");
    this.#pollPause.wake();
  }

  async #poll(): Promise<void> {
    for (let failures = 0; ; ) {
      const began = performance.now();
      try {
        await this.#look();
        failures = 0;
      } catch (error) {
        failures += 1;
        this.#failed(error);
      }
      const spent = performance.now() - began;
      await this.#pollPause.wait(failures > 0 ? backOff(failures) : Math.max(0, POLL_MS - spent));
    }
  }

  async #look(): Promise<void> {
    if (this.connection === "token") {
      return;
    }
    const answer = await this.#client.ask("/v1/pipelines", AbortSignal.timeout(TIMEOUT_MS));
    const { pipelines, refused } = (await answer.json()) as { pipelines: Pipeline[]; refused?: Stray[] };
    this.strays = refused ?? [];
    this.#clockOffset = clockOffset(answer.headers.get("Date"), Date.now());
    const changed = changes(this.pipelines, pipelines);
    this.pipelines = pipelines;
    this.history.look(performance.now() / 1000, Date.now() / 1000, pipelines);
    pipelines.flatMap((pipeline) => pipeline.transforms).forEach((build) => this.builds.learn(build));
    if (this.connection !== "live") {
      this.#become("live");
      this.#followPause.wake();
      this.#componentsPause.wake();
      void this.#askVersion();
    }
    changed.forEach((text) => this.#announce(text));
    this.#changed();
  }

  #failed(error: unknown): void {
    const known = error instanceof ApiError ? error : null;
    if (known?.status === 401) {
      this.trouble = { text: this.#client.token === null ? "" : known.message, suggestion: "" };
      this.#client.token = null;
      this.#become("token");
    } else if (known?.code === "STARTING") {
      this.#become("starting");
    } else if (known) {
      this.trouble = { text: known.message, suggestion: known.suggestion };
      this.#become("refused");
    } else {
      this.#become("lost");
    }
  }

  #become(connection: Connection): void {
    if (this.connection === connection) {
      return;
    }
    const before = this.connection;
    this.connection = connection;
    if (connection === "live") {
      this.trouble = null;
    }
    if (before === "live" || (connection === "live" && before !== "connecting")) {
      this.#announce(connection === "live" ? "The host answers again" : "No connection to the host");
    }
    this.#changed();
  }

  async #follow(): Promise<void> {
    const follower = new Follower(this.#client, (event) => this.#happened(event));
    for (let failures = 0; ; ) {
      if (this.connection === "live") {
        await follower.follow(() => {
          failures = 0;
        }).catch(() => undefined);
      }
      failures += 1;
      await this.#followPause.wait(backOff(failures));
    }
  }

  #happened(event: HostEvent): void {
    this.events = [event, ...this.events].slice(0, EVENTS);
    this.builds.happened(event);
    const when = this.local(Date.parse(event.ts));
    this.history.happened(event, when / 1000);
    // What is told of the time before the page was opened is no news.
    if (when > this.#opened) {
      this.#announce(announcement(event));
      this.#pollPause.wake();
      this.#componentsPause.wake();
    }
    this.#changed();
  }

  async #watchComponents(): Promise<void> {
    for (;;) {
      if (this.connection === "live") {
        // What goes wrong here goes wrong with the pipelines too, and is told there.
        await this.#askComponents().catch(() => undefined);
      }
      await this.#componentsPause.wait(COMPONENTS_MS);
    }
  }

  async #askComponents(): Promise<void> {
    const answer = await this.#client.ask("/v1/components", AbortSignal.timeout(TIMEOUT_MS));
    const { components } = (await answer.json()) as { components: Component[] };
    this.components = components;
    components.forEach(({ current }) => current && this.builds.learn(current));
    const there = new Set(components.map(({ name }) => name));
    for (const gone of [...this.#counted.keys()].filter((name) => !there.has(name))) {
      this.#counted.delete(gone);
      this.versions.delete(gone);
    }
    this.#changed();
    for (const { name, current, refused } of components) {
      const state = `${current?.generation} ${refused.length}`;
      if (this.#counted.get(name) !== state) {
        const path = `/v1/components/${encodeURIComponent(name)}/versions`;
        const found = await this.#client.ask(path, AbortSignal.timeout(TIMEOUT_MS));
        this.versions.set(name, ((await found.json()) as Versions).versions.length);
        this.#counted.set(name, state);
        this.#changed();
      }
    }
  }

  async #askVersion(): Promise<void> {
    try {
      const answer = await this.#client.ask("/version", AbortSignal.timeout(TIMEOUT_MS));
      this.hostVersion = ((await answer.json()) as { version: string }).version;
      this.#changed();
    } catch {
      // It is shown with the next connection.
    }
  }

  #announce(text: string): void {
    this.announced = text;
  }
}
