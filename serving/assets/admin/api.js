// Calls to the admin API, with the key that this tab was given.

const NAME = "feedwright key"; // the demo page's too
const MOST = 30_000; // milliseconds

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  get locked() {
    return this.status === 401 || this.status === 403;
  }
}

export const key = {
  get: () => sessionStorage.getItem(NAME),
  set: (value) => sessionStorage.setItem(NAME, value),
  forget: () => sessionStorage.removeItem(NAME),
};

/** The JSON of one call below api/v1/admin. Throws a Problem with the server's own words. */
export async function call(path, { method = "GET", body } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`api/v1/admin/${path}`, {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(MOST),
    });
  } catch {
    throw new Problem(0, "The server does not answer. Is it running?");
  }
  if (answer.status === 204) return {};
  const found = await answer.json().catch(() => {
    throw new Problem(answer.status, `The server answered ${answer.status}, not JSON.`);
  });
  if (!answer.ok) throw new Problem(answer.status, found.detail || answer.statusText);
  return found;
}
