/** Below this, a difference is the second to which the host's header is rounded, and the way of the answer. */
const ROUNDING_MS = 2000;

/** How far the host's clock is ahead of the browser's, by the `Date` of an answer that just came. */
export function clockOffset(date: string | null, now: number): number {
  const said = date === null ? Number.NaN : Date.parse(date);
  const offset = said - now;
  return Number.isNaN(offset) || Math.abs(offset) < ROUNDING_MS ? 0 : offset;
}
