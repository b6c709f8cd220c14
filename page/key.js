/** The API key: asked for once, and kept for this tab alone, until it is closed or the key is forgotten. */
import { tell } from "./element.js";
import { tab } from "./tab.js";
import { say } from "./words.js";

const KEPT = "facebento.key";

const form = document.querySelector("#key-form");
const input = document.querySelector("#key-input");
const trouble = document.querySelector("#key-trouble");
const keptLine = document.querySelector("#key-kept");
const forget = document.querySelector("#key-forget");

let complaint = "";

export function key() {
  return tab.getItem(KEPT) ?? "";
}

function render() {
  form.hidden = key() !== "";
  keptLine.hidden = !form.hidden;
  trouble.hidden = complaint === "";
  tell(trouble, complaint && say(complaint));
  input.setAttribute("aria-invalid", String(complaint !== ""));
}

/** Ask for it, with the name of the text that says why. */
export function ask(reason) {
  tab.removeItem(KEPT);
  complaint = reason;
  render();
  input.focus();
}

/** entered() is called with each new key. Answers what to call when the language has changed. */
export function install(entered) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = input.value.trim();
    // Others are in no key, and most of them in no header either.
    if (!/^[\x21-\x7e]+$/.test(typed)) {
      ask(typed ? "keyOdd" : "keyEmpty");
      return;
    }
    input.value = "";
    complaint = "";
    tab.setItem(KEPT, typed);
    render();
    forget.focus();
    entered();
  });
  forget.addEventListener("click", () => ask(""));
  render();
  return render;
}
