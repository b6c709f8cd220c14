/** What went wrong, in words, with what to do about it. */
import { make } from "./element.js";
import { say } from "./words.js";

const BY_STATUS = { 0: "offline", file: "unreadable", drop: "noFile", 413: "tooLarge", 429: "busy", 502: "offline", 503: "unavailable", 504: "late" };
const BY_TYPE = {
  image_corrupt: "corrupt",
  image_unsupported_format: "unsupported",
  image_too_many_pixels: "tooManyPixels",
  image_side_too_long: "tooManyPixels",
  image_too_narrow: "tooNarrow",
  image_too_many_scans: "tooManyScans",
};
const AGAIN = new Set([0, 429, 500, 502, 503, 504]); // may go well with the next try

/** Fill box with what there is to say of a Refused; again() is called when another try is asked for. */
export function show(box, refused, again) {
  box.hidden = !refused;
  const said = refused ? parts(box, refused, again) : [];
  // What it says already is not set anew: a screen reader would speak it again.
  if (said.map((each) => each.textContent).join("") !== box.textContent) box.replaceChildren(...said);
}

function parts(box, refused, again) {
  const { status, type, message, retryAfter } = refused;
  const known = BY_TYPE[type] ?? BY_STATUS[status];
  const said = [make("p", {}, known ? say(known) : say("otherTrouble", status))];
  if (retryAfter !== undefined) said.push(make("p", {}, say("retryAfter", retryAfter)));
  if (message) said.push(make("p", { className: "small" }, say("itSaid"), make("q", { lang: "en" }, message)));
  if (AGAIN.has(status)) {
    const button = make("button", { type: "button" }, say("again"));
    button.addEventListener("click", () => {
      // The button goes with the trouble: who pressed it by keyboard waits where the answer will be told.
      const status = box.parentElement.querySelector(".status");
      status.tabIndex = -1;
      status.focus();
      again();
    });
    said.push(button);
  }
  return said;
}
