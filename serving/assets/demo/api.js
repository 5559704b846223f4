// Calls to the API. Addresses are relative, so the page works below any path.

import { $ } from "./dom.js";
import { credentials } from "./key.js";
import { milliseconds } from "./words.js";

export class Problem extends Error {
  constructor(status, detail, requestId) {
    super(detail);
    this.status = status;
    this.requestId = requestId;
  }
}

/**
 * The JSON of one call.
 * Throws a Problem with the server's own words, or the AbortError of `signal`.
 */
export async function call(path, { signal, body } = {}) {
  const start = performance.now();
  let answer;
  try {
    answer = await fetch(path, {
      signal,
      method: body ? "POST" : "GET",
      headers: { ...credentials(), ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer. Is it running?");
  }
  const found = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Problem(answer.status, `The server answered ${answer.status}, not JSON.`);
  });
  const requestId = answer.headers.get("X-Request-Id") ?? found.request_id;
  if (!answer.ok) {
    throw new Problem(answer.status, found.detail || found.title || answer.statusText, requestId);
  }
  if (requestId) {
    $("last-call").textContent =
      ` · ${milliseconds(performance.now() - start)} for the last call, request ${requestId}`;
  }
  return found;
}

/** "api/v1/feed?user_id=7": parameters that are empty are left out. */
export function url(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== "" && value != null && value !== false) query.set(key, value);
  }
  return `api/v1/${path}${query.size ? `?${query}` : ""}`;
}

const BATCH = 100;
const items = new Map();

/** What the catalogue says of these items: a Map by id; an id that is not there has no entry. */
export async function itemsOf(ids, signal) {
  // Commas separate the ids of the request: an item whose id has one is shown by its id.
  const missing = ids.filter((id) => !items.has(id) && !id.includes(","));
  for (let at = 0; at < missing.length; at += BATCH) {
    const batch = missing.slice(at, at + BATCH);
    const found = await call(url("items", { ids: batch.join(",") }), { signal });
    for (const item of found.items) items.set(item.id, item);
  }
  return items;
}
