/** The faces that were found, beside the picture: a card with the aligned crop of each, and all numbers as a table. */
import { draw, SIDE } from "./align.js";
import { make } from "./element.js";
import { say } from "./words.js";

const FIRST = 24; // cards to begin with: a crop is a picture of its own, and there may be 750

function crop(image, face, name) {
  const canvas = make("canvas", { className: "crop", role: "img", "aria-label": say("cropOf", name) });
  canvas.width = canvas.height = SIDE;
  draw(canvas, image, face);
  return canvas;
}

/** A face's crop with its name below. image: undefined where the browser can't show the picture. */
export function card(image, face, name) {
  const confidence = make("span", { className: "small" }, say("confidenceIs", face.confidence.toFixed(2)));
  return [...(image ? [crop(image, face, name)] : []), make("strong", {}, name), confidence];
}

function cards(image, faces, lookAt) {
  const list = make("ol", { className: "cards" });
  const add = (count) => {
    for (let index = list.children.length; index < Math.min(count, faces.length); index += 1) {
      const button = make("button", { type: "button", className: "face", "aria-pressed": "false" });
      button.append(...card(image, faces[index], say("face", index + 1)));
      button.addEventListener("mouseenter", () => lookAt(index));
      button.addEventListener("mouseleave", () => lookAt(pressed()));
      button.addEventListener("focus", () => lookAt(index));
      button.addEventListener("blur", () => lookAt(pressed()));
      button.addEventListener("click", () => {
        const now = button.getAttribute("aria-pressed") === "false";
        for (const each of list.querySelectorAll(".face")) each.setAttribute("aria-pressed", "false");
        button.setAttribute("aria-pressed", String(now));
        lookAt(now ? index : -1);
      });
      list.append(make("li", {}, button));
    }
  };
  const pressed = () => [...list.querySelectorAll(".face")].findIndex((each) => each.ariaPressed === "true");
  add(FIRST);
  if (faces.length <= FIRST) return [list];
  const more = make("button", { type: "button" }, say("allFaces", faces.length));
  more.addEventListener("click", () => {
    add(faces.length);
    list.children[FIRST].querySelector("button").focus();
    more.remove();
  });
  return [list, more];
}

function table(faces) {
  const head = ["columnFace", "columnConfidence", "columnBox", "columnPoints"];
  const rows = faces.map(({ confidence, boundingBox, landmarks }, index) => {
    const { left, top, right, bottom } = boundingBox;
    const points = landmarks.map(({ x, y }) => `${x}, ${y}`).join(" · ");
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, String(index + 1)),
      make("td", {}, confidence.toFixed(4)),
      make("td", {}, `${left}, ${top} – ${right}, ${bottom}`),
      make("td", {}, points),
    );
  });
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, say(name))))),
    make("tbody", {}, ...rows),
  );
}

/** What to put beside the picture of that name. lookAt(index) makes one of its boxes stand out, lookAt(-1) none. */
export function describe(name, image, faces, lookAt) {
  if (faces.length === 0) return [];
  const label = `${say("numbers")}: ${name}`;
  const scrolled = make("div", { className: "scrolled", tabIndex: 0, role: "region", "aria-label": label }, table(faces));
  const note = make("p", { className: "small" }, say("numbersNote"));
  return [
    ...cards(image, faces, lookAt),
    make("details", {}, make("summary", {}, say("numbers")), note, scrolled),
  ];
}
