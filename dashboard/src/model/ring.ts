/** The newest samples of several series at common times. What it takes is allocated once: a page may be open for weeks. */
export class Ring {
  readonly #capacity: number;
  readonly #times: Float64Array;
  readonly #series: Float64Array[];
  #next = 0;
  #length = 0;

  constructor(capacity: number, series: number) {
    this.#capacity = capacity;
    this.#times = new Float64Array(capacity);
    this.#series = Array.from({ length: series }, () => new Float64Array(capacity));
  }

  get length(): number {
    return this.#length;
  }

  /** Adds a sample; the oldest one makes room for it. A value that is not known is null. */
  push(time: number, values: (number | null)[]): void {
    this.#times[this.#next] = time;
    this.#series.forEach((series, index) => {
      series[this.#next] = values[index] ?? Number.NaN;
    });
    this.#next = (this.#next + 1) % this.#capacity;
    this.#length = Math.min(this.#length + 1, this.#capacity);
  }

  /** The times, the oldest first. */
  times(): number[] {
    return this.#ordered(this.#times);
  }

  /** The values of a series, the oldest first. */
  values(series: number): (number | null)[] {
    const from = this.#series[series];
    return from ? this.#ordered(from).map((value) => (Number.isNaN(value) ? null : value)) : [];
  }

  #ordered(from: Float64Array): number[] {
    const start = this.#length < this.#capacity ? 0 : this.#next;
    return Array.from({ length: this.#length }, (_, n) => from[(start + n) % this.#capacity] ?? 0);
  }
}
