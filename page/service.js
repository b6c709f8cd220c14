/** Requests to the service that this page came from. Addresses are relative: a proxy may put it below any path. */
import { key } from "./key.js";

export const ROOT = root();

function root() {
  const url = new URL(".", document.baseURI);
  url.username = url.password = ""; // for a proxy: the browser sends them itself, and lets no request name them
  return url.href.replace(/\/$/, "");
}

/** An answer that is an error. status 0: there was none; nothing was asked with "file", since one can't be read, and "drop". */
export class Refused extends Error {
  constructor(status, { type = "", detail = "", retryAfter = "" } = {}) {
    super(detail);
    this.status = status;
    this.type = type;
    this.retryAfter = /^\d+$/.test(retryAfter) ? Number(retryAfter) : undefined;
  }
}

/** field: one that the answer has, or it is not this service's. Raises Refused, and the AbortError of a signal. */
async function answer(path, field, options = {}) {
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
  if (response.ok && Object.hasOwn(Object(body), field)) return body;
  if (response.ok) throw new Refused(0);
  const said = body?.detail;
  const [first] = Array.isArray(said) ? said : [];
  const detail = first?.msg ?? said;
  throw new Refused(response.status, {
    type: first?.type,
    detail: typeof detail === "string" ? detail : "",
    retryAfter: response.headers.get("retry-after") ?? "",
  });
}

/** Whether it is still there as it was when it was chosen, and no folder. */
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

async function post(path, field, files, fields, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries({ ...files, ...fields })) body.append(name, value);
  try {
    return await answer(path, field, { method: "POST", headers: { "x-api-key": key() }, body, signal });
  } catch (error) {
    // To the browser both are a request that failed.
    const there = error.status !== 0 || (await Promise.all(Object.values(files).map(readable))).every(Boolean);
    throw there ? error : new Refused("file");
  }
}

/** The photo is sent as it is, whatever its size: the service is the one to say what is too large. */
export function detect(file, { order, most }, signal) {
  return post("v1/file/detect", "faces", { image: file }, { maxResults: most, detectSortType: order }, signal);
}

export function score(first, second, signal) {
  return post("v1/file/score", "face_detects", { image1: first, image2: second }, {}, signal);
}

/** Where it runs, and all that is told of its models. */
export async function about() {
  const [server, { models }] = await Promise.all([answer("v1/info/server", "version"), answer("v1/info/model", "models")]);
  const told = await Promise.all(models.map((name) => answer(`v1/info/model/${encodeURIComponent(name)}`, "role")));
  const of = (role) => told.find((model) => model.role === role);
  return { server, detector: of("detector"), embedder: of("embedder") };
}
