import { short } from "../model/format";

/** A build of a component: its version, where it is known, and the first digits of its digest. */
export function Build({ digest, version }: { digest: string; version?: string | null | undefined }) {
  return (
    <span class="build">
      {version && <span class="version">{version}</span>}
      {version && " "}
      <code title={`sha256:${digest}`}>{short(digest)}</code>
    </span>
  );
}
