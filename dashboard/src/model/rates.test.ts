import { expect, test } from "vitest";
import type { Counts, Pipeline } from "../api/types";
import { Meter, rates, totals, UNKNOWN } from "./rates";

const of = (records: number, rows = records, deadLetters = 0) => ({ records, rows, deadLetters });

test("rates are differences a second, by the time that went by", () => {
  expect(rates(of(100, 50, 4), of(400, 80, 10), 3)).toEqual({ records: 100, rows: 10, deadLetters: 2 });
  expect(rates(of(5), of(5), 1)).toEqual({ records: 0, rows: 0, deadLetters: 0 });
  expect(rates(of(5), of(6), 0)).toEqual(UNKNOWN);
});

test("after a restart, which sets counters back, a rate is not known, never negative", () => {
  expect(rates(of(1000), of(10), 1)).toEqual(UNKNOWN);
  const meter = new Meter();
  expect(meter.look(0, of(1000))).toEqual(UNKNOWN);
  expect(meter.look(1, of(1500)).records).toBe(500);
  expect(meter.look(9, of(20))).toEqual(UNKNOWN);
  expect(meter.smooth()).toEqual(UNKNOWN);
  expect(meter.look(10, of(50)).records).toBe(30);
  expect(meter.smooth().records).toBe(30);
});

test("the smooth rate reaches five seconds back, also over bursts and missed looks", () => {
  const meter = new Meter();
  for (let second = 0; second <= 20; second++) {
    // A burst of 5,000 each five seconds.
    meter.look(second, of(Math.floor(second / 5) * 5000));
  }
  expect(meter.smooth().records).toBe(1000);
  meter.look(60, of(20_000));
  expect(meter.smooth().records).toBe(0);
});

test("the totals of a pipeline add its outputs and both kinds of dead letters", () => {
  const processed: Counts = { records: 9, emitted: 4, dropped: 2, rejected: 1, broken: 2, rows: { a: 4, b: 3 } };
  expect(totals({ processed } as Pipeline)).toEqual({ records: 9, rows: 7, deadLetters: 3 });
  const { rows: _, ...before } = processed;
  expect(totals({ processed: before } as Pipeline).rows).toBe(0);
});
