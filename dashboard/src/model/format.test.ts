import { expect, test } from "vitest";
import { bytes, clock, compact, count, duration, milliseconds, rate } from "./format";

test("numbers are exact while they are short", () => {
  expect([0, 999_999, 1_234_567, null].map(count)).toEqual(["0", "999,999", "1.2M", "–"]);
  expect([0, 0.25, 9.96, 12.4, 99_999, 123_456, undefined].map(rate)).toEqual(
    ["0", "0.3", "10", "12", "99,999", "123.5K", "–"]);
  expect([0, 1023, 1024, 10_485_760, 2 ** 60].map(bytes)).toEqual(
    ["0 B", "1,023 B", "1 KiB", "10 MiB", "1,024 PiB"]);
  expect([0.0004, 0.25].map(milliseconds)).toEqual(["0.4 ms", "250 ms"]);
});

test("numbers beside a scale are short", () => {
  expect([0, 0.5, 2500, 50_000, 1_500_000].map(compact)).toEqual(["0", "0.5", "2.5K", "50K", "1.5M"]);
});

test("durations have two units at most", () => {
  expect([0, 0.42, 12.9, 61, 3599, 3661, 90_000, -3].map(duration)).toEqual(
    ["0 s", "0.4 s", "12 s", "1 min 1 s", "59 min", "1 h 1 min", "1 d 1 h", "0 s"]);
  expect([null, Number.NaN].map(duration)).toEqual(["–", "–"]);
});

test("a time of another day says so", () => {
  const now = new Date(2026, 10, 27, 12, 0, 0).getTime();
  expect(clock(now - 1000, now)).toBe("11:59:59");
  expect(clock(now - 86_400_000, now)).toBe("26 Nov 12:00:00");
});
