/** Which models answer, and where they run. */
import { make } from "./element.js";
import * as service from "./service.js";
import { say } from "./words.js";

const line = document.querySelector("#about");

let told;
let failed = false;

/** To be called again when the language has changed. */
export function render() {
  if (failed) line.textContent = say("aboutUnknown"); // the first request that matters says more
  if (!told) return;
  const { server, detector, embedder } = told;
  const facts = [
    ["detector", detector.name, detector.summary],
    ["embedder", embedder.name, embedder.summary],
    ["device", `${server.device} (${server.execution_provider})`, ""],
    ["version", `facebento ${server.version}`, ""],
  ];
  const parts = facts.map(([name, value, title]) =>
    make("span", { className: "fact", title }, `${say(name)} `, make("strong", {}, value)),
  );
  line.replaceChildren(...parts);
}

/** known(embedder) is called with what is told of it. Where nothing is, this may be called again. */
export async function install(known) {
  try {
    told = await service.about();
    failed = false;
  } catch {
    failed = true;
  }
  render();
  if (told) known(told.embedder);
}
