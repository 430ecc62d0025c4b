/** An answer that is no success: a problem as of RFC 9457, as far as the host says one. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly suggestion: string;

  constructor(status: number, code: string, detail: string, suggestion: string) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.suggestion = suggestion;
  }
}

const TOKEN = "tidemill.token";

/** Asks the host, with the token that a person gave. It is kept for as long as the tab is open, and by no other tab. */
export class Client {
  get token(): string | null {
    return sessionStorage.getItem(TOKEN);
  }

  set token(token: string | null) {
    if (token === null) {
      sessionStorage.removeItem(TOKEN);
    } else {
      sessionStorage.setItem(TOKEN, token);
    }
  }

  /** An answer that is a success. */
  async ask(path: string, signal: AbortSignal, headers: Record<string, string> = {}): Promise<Response> {
    const { token } = this;
    const authorization: Record<string, string> = token === null ? {} : { Authorization: `Bearer ${token}` };
    const answer = await fetch(path, { headers: { ...authorization, ...headers }, signal, cache: "no-store" });
    if (!answer.ok) {
      throw await problem(answer);
    }
    return answer;
  }
}

async function problem(answer: Response): Promise<ApiError> {
  const body: unknown = await answer.json().catch(() => null);
  const found = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const text = (key: string) => (typeof found[key] === "string" ? found[key] : "");
  const detail = text("detail") || `the host answered ${answer.status}`;
  return new ApiError(answer.status, text("code"), detail, text("suggestion"));
}
