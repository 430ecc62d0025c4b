/** A wait that can be cut short. */
export class Pause {
  #wake: (() => void) | null = null;

  async wait(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }

  wake(): void {
    this.#wake?.();
  }
}

/** How long to wait after so many failures in a row: longer and longer, at most five seconds. A host that is back is soon seen. */
export function backOff(failures: number): number {
  return Math.min(500 * 2 ** failures, 5000);
}
