import type { Pipeline } from "../api/types";

/** What a pipeline has counted since its host started. */
export interface Totals {
  records: number;
  rows: number;
  deadLetters: number;
}

/** What it counts a second; null while that is not known. */
export interface Rates {
  records: number | null;
  rows: number | null;
  deadLetters: number | null;
}

export const UNKNOWN: Rates = { records: null, rows: null, deadLetters: null };

/** How far back the rate of the table reaches: batches come in bursts, and a number that jumps can't be read. */
const SMOOTH_SECONDS = 5;

export function totals(pipeline: Pipeline): Totals {
  const { records, rejected, broken, rows } = pipeline.processed;
  const sum = Object.values(rows ?? {}).reduce((all, count) => all + count, 0);
  return { records, rows: sum, deadLetters: rejected + broken };
}

/** The rates between two looks. Counts that went down say that the host started anew in between: how much it did is not known. */
export function rates(before: Totals, after: Totals, seconds: number): Rates {
  const restarted =
    after.records < before.records || after.rows < before.rows || after.deadLetters < before.deadLetters;
  if (restarted || seconds <= 0) {
    return UNKNOWN;
  }
  const rate = (key: keyof Totals) => (after[key] - before[key]) / seconds;
  return { records: rate("records"), rows: rate("rows"), deadLetters: rate("deadLetters") };
}

interface Look {
  seconds: number;
  totals: Totals;
}

/** Follows the counts of a pipeline. Times are seconds of a clock that nobody sets. */
export class Meter {
  #looks: Look[] = [];

  /** Takes the counts of now, and answers the rates since the look before. */
  look(seconds: number, now: Totals): Rates {
    const last = this.#looks.at(-1);
    const since = last ? rates(last.totals, now, seconds - last.seconds) : UNKNOWN;
    if (last && since.records === null) {
      this.#looks = [];
    }
    this.#looks.push({ seconds, totals: now });
    // One look from before the span stays: the span is measured from it.
    while (this.#looks.length > 2 && (this.#looks[1]?.seconds ?? seconds) <= seconds - SMOOTH_SECONDS) {
      this.#looks.shift();
    }
    return since;
  }

  /** The rates over the last seconds. */
  smooth(): Rates {
    const [first, last] = [this.#looks[0], this.#looks.at(-1)];
    return first && last ? rates(first.totals, last.totals, last.seconds - first.seconds) : UNKNOWN;
  }
}
