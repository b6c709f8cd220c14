/** The request as curl and as Python, and the answer as JSON, each to copy. The key itself is in none of them. */
import { make } from "./element.js";
import { ROOT } from "./service.js";
import { say } from "./words.js";

const KEY = "FACEBENTO_API_KEY"; // of the environment: what is pasted ends up in histories and in repositories
const DEFAULTS = { maxResults: 750, detectSortType: 0 };

function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** curl's own quotes, around names that it would read otherwise. */
function form(field, name) {
  const plain = /^[\w./-]+$/.test(name);
  return shell(`${field}=@${plain ? name : `"${name.replaceAll(/["\\]/g, String.raw`\$&`)}"`}`);
}

/** request: path; files, as pairs of field and name; fields. Those with their default are left out. */
function curl({ path, files, fields }) {
  const set = Object.entries(fields).filter(([name, value]) => value !== DEFAULTS[name]);
  return [
    `curl -H "x-api-key: $${KEY}"`,
    ...files.map(([field, name]) => `-F ${form(field, name)}`),
    ...set.map(([name, value]) => `-F ${name}=${value}`),
    shell(`${ROOT}/${path}`),
  ].join(" \\\n  ");
}

const NAMES = { maxResults: "max_results", detectSortType: "detect_sort_type" };

function python({ method, files, fields }) {
  const set = Object.entries(fields).filter(([name, value]) => value !== DEFAULTS[name]);
  const passed = [
    ...files.map(([, name]) => JSON.stringify(name)),
    ...set.map(([name, value]) => `${NAMES[name]}=${value}`),
  ];
  return [
    "import os",
    "",
    "from facebento_client import Client",
    "",
    `key = os.environ["${KEY}"]`,
    `with Client(${JSON.stringify(ROOT)}, api_key=key) as client:`,
    `    print(client.${method}(${passed.join(", ")}))`,
  ].join("\n");
}

/** JSON that a person reads: what fits in a line stays in one. */
export function pretty(value, indent = "") {
  const short = JSON.stringify(value, null, 1).replaceAll(/\n\s*/g, " ");
  if (typeof value !== "object" || value === null || indent.length + short.length <= 76) return short;
  const inner = `${indent}  `;
  const lines = Array.isArray(value)
    ? value.map((each) => pretty(each, inner))
    : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${pretty(each, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return `${open}\n${lines.map((line) => inner + line).join(",\n")}\n${indent}${close}`;
}

async function copy(text, block) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text); // which is there on https and on this machine itself only
  } catch {
    getSelection().selectAllChildren(block);
    done = document.execCommand("copy");
  }
  document.querySelector("#copied").textContent = say(done ? "copied" : "copyYourself");
}

function block(name, text) {
  const code = make("code", {}, text);
  const pre = make("pre", { tabIndex: 0, role: "region", "aria-label": say(name), className: name }, code);
  const button = make("button", { type: "button", "aria-label": `${say("copy")}: ${say(name)}` }, say("copy"));
  button.addEventListener("click", () => copy(text, code));
  const head = make("div", { className: "row between" }, make("h3", {}, say(name)), button);
  return make("div", { className: "code" }, head, pre);
}

/** exchanges: name of the text that names it, request, and answer, of each that there was; the last is shown. */
export class Code {
  #section = document.querySelector("#code");
  #which = document.querySelector("#code-of");
  #exchanges = [];

  constructor() {
    this.#which.addEventListener("change", () => this.#show());
  }

  render(exchanges) {
    const before = this.#exchanges.length === exchanges.length ? this.#which.selectedIndex : -1;
    this.#exchanges = exchanges;
    this.#section.hidden = exchanges.length === 0;
    this.#which.replaceChildren(...exchanges.map(({ name }) => make("option", {}, name)));
    this.#which.selectedIndex = before >= 0 ? before : exchanges.length - 1;
    this.#show();
  }

  #show() {
    document.querySelector("#copied").textContent = "";
    const shown = this.#exchanges[this.#which.selectedIndex];
    if (!shown) return;
    const { request, answer } = shown;
    document
      .querySelector("#codes")
      .replaceChildren(block("curl", curl(request)), block("python", python(request)), block("json", pretty(answer)));
  }
}
