import type { HostEvent, Pipeline } from "../api/types";
import { Meter, type Rates, totals, UNKNOWN } from "./rates";
import { Ring } from "./ring";

/** A quarter of an hour of seconds. */
const SAMPLES = 900;
/** Looks that are closer say nothing of a rate: records come in batches. An event makes the page look at once. */
const LEAST_SECONDS = 0.5;
/** Swaps that a chart shows at most. */
const SWAPS = 50;

/** The series of a pipeline, in the order in which they are kept. */
export const SERIES = { records: 0, rows: 1, lagRecords: 2, lagSeconds: 3, deadLetters: 4 } as const;

/** When a pipeline went over to another build. */
export interface Swap {
  seconds: number;
  digest: string;
}

interface Past {
  meter: Meter;
  ring: Ring;
}

/** The last quarter of an hour of each pipeline. Those that are gone are forgotten. */
export class History {
  readonly #pasts = new Map<string, Past>();
  #looked = Number.NEGATIVE_INFINITY;
  #swaps: (Swap & { pipeline: string })[] = [];

  /** Takes what the host just said. `steady` is a clock that nobody sets, `wall` the one that people read. */
  look(steady: number, wall: number, pipelines: Pipeline[]): void {
    if (steady - this.#looked < LEAST_SECONDS) {
      return;
    }
    this.#looked = steady;
    const there = new Set(pipelines.map(({ name }) => name));
    [...this.#pasts.keys()].filter((name) => !there.has(name)).forEach((name) => this.#pasts.delete(name));
    for (const pipeline of pipelines) {
      const past = this.#pasts.get(pipeline.name) ?? { meter: new Meter(), ring: new Ring(SAMPLES, 5) };
      this.#pasts.set(pipeline.name, past);
      const { records, rows, deadLetters } = past.meter.look(steady, totals(pipeline));
      const lag = pipeline.lag;
      past.ring.push(wall, [records, rows, lag?.records ?? null, lag?.seconds ?? null, deadLetters]);
    }
  }

  happened(event: HostEvent, seconds: number): void {
    const { kind, pipeline, new: digest } = event;
    if (kind === "swapped" && typeof pipeline === "string" && typeof digest === "string") {
      this.#swaps = [...this.#swaps, { pipeline, seconds, digest }].slice(-SWAPS);
    }
  }

  rates(pipeline: string): Rates {
    return this.#pasts.get(pipeline)?.meter.smooth() ?? UNKNOWN;
  }

  ring(pipeline: string): Ring | undefined {
    return this.#pasts.get(pipeline)?.ring;
  }

  swaps(pipeline: string): Swap[] {
    return this.#swaps.filter((swap) => swap.pipeline === pipeline);
  }
}
