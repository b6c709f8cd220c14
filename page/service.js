/** Requests to the service that this page came from. Addresses are relative: a proxy may put it below any path. */
import { key } from "./key.js";

export const ROOT = new URL(".", document.baseURI).href.replace(/\/$/, "");

/** An answer that is an error. status 0: there was none. */
export class Refused extends Error {
  constructor(status, { type = "", detail = "", retryAfter = "" } = {}) {
    super(detail);
    this.status = status;
    this.type = type;
    this.retryAfter = /^\d+$/.test(retryAfter) ? Number(retryAfter) : undefined;
  }
}

/** Raises Refused, and the AbortError of a signal. */
async function answer(path, options = {}) {
  let response, text;
  try {
    response = await fetch(`${ROOT}/${path}`, { cache: "no-store", ...options });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refused(response.ok ? 0 : response.status); // not this service's: a proxy's page
  }
  if (response.ok) return body;
  const [first] = Array.isArray(body.detail) ? body.detail : [];
  throw new Refused(response.status, {
    type: first?.type,
    detail: first?.msg ?? body.detail,
    retryAfter: response.headers.get("retry-after") ?? "",
  });
}

function post(path, fields, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return answer(path, { method: "POST", headers: { "x-api-key": key() }, body, signal });
}

/** The photo is sent as it is, whatever its size: the service is the one to say what is too large. */
export function detect(file, { order, most }, signal) {
  return post("v1/file/detect", { image: file, maxResults: most, detectSortType: order }, signal);
}

export function score(first, second, signal) {
  return post("v1/file/score", { image1: first, image2: second }, signal);
}

/** Where it runs, and all that is told of its models. */
export async function about() {
  const [server, { models }] = await Promise.all([answer("v1/info/server"), answer("v1/info/model")]);
  const told = await Promise.all(models.map((name) => answer(`v1/info/model/${encodeURIComponent(name)}`)));
  const of = (role) => told.find((model) => model.role === role);
  return { server, detector: of("detector"), embedder: of("embedder") };
}
