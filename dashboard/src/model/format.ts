const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const MISSING = "–";

/** A count: exact while it is short. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return MISSING;
  }
  return value < 1_000_000 ? WHOLE.format(value) : COMPACT.format(value);
}

/** A number beside a scale. */
export function compact(value: number): string {
  return COMPACT.format(value);
}

/** A number a second. */
export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return MISSING;
  }
  if (value >= 100_000) {
    return COMPACT.format(value);
  }
  return value < 10 ? TENTHS.format(value) : WHOLE.format(value);
}

export function bytes(value: number): string {
  const step = value < 1 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), UNITS.length - 1);
  const scaled = value / 1024 ** step;
  return `${scaled < 10 && step > 0 ? TENTHS.format(scaled) : WHOLE.format(scaled)} ${UNITS[step]}`;
}

/** A time that went by: two units at most. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) {
    return MISSING;
  }
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) {
    return seconds > 0 && seconds < 10 ? `${TENTHS.format(seconds)} s` : `${whole} s`;
  }
  const [minutes, hours, days] = [Math.floor(whole / 60), Math.floor(whole / 3600), Math.floor(whole / 86_400)];
  if (hours < 1) {
    return minutes < 10 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  }
  return days < 1 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}

export function milliseconds(seconds: number): string {
  const value = seconds * 1000;
  return `${value < 100 ? TENTHS.format(value) : WHOLE.format(value)} ms`;
}

/** The first digits of a digest, which tell builds apart. */
export function short(digest: string): string {
  return digest.slice(0, 12);
}

/** The time of day, with the day where it is another one. */
export function clock(time: number, now: number): string {
  const [then, today] = [new Date(time), new Date(now)];
  const hours = then.toLocaleTimeString("en-GB");
  return then.toDateString() === today.toDateString()
    ? hours
    : `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${hours}`;
}
