import type { HostEvent } from "../api/types";

/** Builds whose versions are remembered. */
const KEPT = 500;

/** Which version a digest is: events name builds by their digests alone. */
export class Builds {
  readonly #versions = new Map<string, string>();

  learn({ digest, version }: { digest: string; version?: string | null }): void {
    if (!version || this.#versions.get(digest) === version) {
      return;
    }
    this.#versions.set(digest, version);
    const [oldest] = this.#versions.keys();
    if (oldest !== undefined && this.#versions.size > KEPT) {
      this.#versions.delete(oldest);
    }
  }

  happened(event: HostEvent): void {
    if (typeof event.digest === "string" && typeof event.version === "string") {
      this.learn({ digest: event.digest, version: event.version });
    }
  }

  version(digest: string): string | undefined {
    return this.#versions.get(digest);
  }
}
