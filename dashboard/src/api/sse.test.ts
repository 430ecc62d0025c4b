import { expect, test } from "vitest";
import { SseParser } from "./sse";

const STREAM = 'id: 7\ndata: {"kind":"loaded"}\n\n: alive\n\nid:8\ndata: a\ndata: b\n\n';
const MESSAGES = [
  { id: "7", data: '{"kind":"loaded"}' },
  { id: "8", data: "a\nb" },
];

test("a stream gives the same messages wherever its pieces end", () => {
  for (const newline of ["\n", "\r\n", "\r"]) {
    const stream = STREAM.replaceAll("\n", newline);
    for (let size = 1; size <= stream.length; size++) {
      const parser = new SseParser();
      const found = [];
      for (let at = 0; at < stream.length; at += size) {
        found.push(...parser.push(stream.slice(at, at + size)));
      }
      // A lone \r is known to end a line only by what follows it.
      found.push(...parser.push(newline === "\r" ? ": more" : ""));
      expect(found, `${JSON.stringify(newline)} in pieces of ${size}`).toEqual(MESSAGES);
    }
  }
});

test("a message that has not ended is kept back, and signs of life are none", () => {
  const parser = new SseParser();
  expect(parser.push(":\n\n:\n\nid: 1\ndata: x\n")).toEqual([]);
  expect(parser.push("\n")).toEqual([{ id: "1", data: "x" }]);
  expect(parser.push("\n\n")).toEqual([]);
});
