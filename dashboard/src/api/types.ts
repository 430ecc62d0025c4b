/** What the REST API answers, as far as this page reads it. What a host may not tell (yet) is optional. */

export interface Counts {
  records: number;
  emitted: number;
  dropped: number;
  rejected: number;
  broken: number;
  /** By output; absent while there are none. */
  rows?: Record<string, number>;
}

export interface Transform {
  component: string;
  digest: string;
  version: string;
}

export interface Pipeline {
  name: string;
  /** RUNNING, PAUSED, STOPPED, DEGRADED or FAILED; a newer host may have others. */
  state: string;
  reason?: string | null;
  /** Since when it is in this state. */
  since?: string | null;
  /** Why the newest definition of it is not what runs. */
  refused?: string | null;
  /** Whether it goes on by itself when what stopped it is mended; an older host calls it by the second name. */
  awaits_mending?: boolean;
  awaits_component?: boolean;
  transforms: Transform[];
  processed: Counts;
  committed: Counts;
  files: number;
  bytes: number;
  flushes: number;
  fenced: number;
  /** Where it is defined: `{file: …}`, or `api`. */
  origin?: Record<string, unknown> | string | null;
  lag?: { records?: number | null; seconds?: number | null } | null;
  last_commit_age_seconds?: number | null;
}

/** A definition that no pipeline could be made of. */
export interface Stray {
  origin?: Record<string, unknown> | string | null;
  name?: string | null;
  reason: string;
  since: string;
}

export interface Refusal {
  digest: string;
  reason: string;
  at: string;
  road: string;
}

export interface Component {
  name: string;
  current: {
    digest: string;
    version?: string | null;
    bytes: number;
    road: string;
    since: string;
    generation: number;
    chosen: string;
  } | null;
  refused: Refusal[];
  used_by: string[];
}

export interface Versions {
  versions: unknown[];
}

/** Something that happened. Kinds that this page does not know have other keys. */
export interface HostEvent {
  id: number;
  ts: string;
  kind: string;
  [detail: string]: unknown;
}
