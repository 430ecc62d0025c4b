import { expect, test } from "vitest";
import { Ring } from "./ring";

test("the newest samples are kept in their order", () => {
  const ring = new Ring(3, 2);
  expect([ring.length, ring.times(), ring.values(0)]).toEqual([0, [], []]);
  ring.push(1, [10, 100]);
  ring.push(2, [20, null]);
  expect([ring.length, ring.times(), ring.values(1)]).toEqual([2, [1, 2], [100, null]]);
  ring.push(3, [30, 300]);
  ring.push(4, [0, 400]);
  expect([ring.length, ring.times()]).toEqual([3, [2, 3, 4]]);
  expect([ring.values(0), ring.values(1)]).toEqual([[20, 30, 0], [null, 300, 400]]);
  for (let time = 5; time < 1000; time++) {
    ring.push(time, [time, null]);
  }
  expect([ring.length, ring.times(), ring.values(0)]).toEqual([3, [997, 998, 999], [997, 998, 999]]);
});
