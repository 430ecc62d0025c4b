/** A message of a stream of server-sent events. */
export interface Message {
  id: string;
  data: string;
}

/**
 * Reads `text/event-stream` as it comes, in pieces that may end anywhere.
 *
 * The browser's own `EventSource` can send no token, so the page follows the stream by `fetch` and reads it by this.
 */
export class SseParser {
  #rest = "";
  #data: string[] = [];
  #id = "";

  /** Takes the next piece of text, and answers the messages that it ended. */
  push(text: string): Message[] {
    const messages: Message[] = [];
    const all = this.#rest + text;
    // A lone \r at the end may be the first half of \r\n: it waits for what follows.
    const end = all.endsWith("\r") ? all.length - 1 : all.length;
    const lines = all.slice(0, end).split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? "") + all.slice(end);
    for (const line of lines) {
      if (line !== "") {
        this.#field(line);
      } else if (this.#data.length > 0) {
        messages.push({ id: this.#id, data: this.#data.join("\n") });
        this.#data = [];
      }
    }
    return messages;
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") {
      this.#data.push(value);
    } else if (name === "id") {
      this.#id = value;
    }
    // A line that begins with a colon is a sign of life; other fields are not used by the host.
  }
}
