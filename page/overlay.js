/** Boxes, landmarks and confidences over a picture. Positions are the picture's, sizes of strokes the screen's. */
import { make } from "./element.js";

const SVG = "http://www.w3.org/2000/svg";
const CROWD = 30; // from so many faces on, only the one that is looked at has its tag

function path(kind, d) {
  const made = document.createElementNS(SVG, "path");
  made.setAttribute("class", kind);
  made.setAttribute("d", d);
  return made;
}

function box({ left, top, right, bottom }) {
  return `M${left} ${top}H${right}V${bottom}H${left}Z`;
}

/** A line of no length with round ends: a dot, of the same size on any picture. Landmarks are of pixels' centres. */
function dots(landmarks) {
  return landmarks.map(({ x, y }) => `M${x + 0.5} ${y + 0.5}h0`).join("");
}

export function clear(stage) {
  stage.querySelector(".marks").replaceChildren();
  stage.querySelector(".tags").replaceChildren();
}

export function draw(stage, { width, height }, faces) {
  clear(stage);
  const marks = stage.querySelector(".marks");
  const tags = stage.querySelector(".tags");
  stage.style.setProperty("--width", width);
  stage.style.setProperty("--height", height);
  marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
  tags.classList.toggle("crowded", faces.length >= CROWD);
  faces.forEach((face, index) => {
    const group = document.createElementNS(SVG, "g");
    const [outline, points] = [box(face.boundingBox), dots(face.landmarks)];
    group.append(path("under box", outline), path("box", outline), path("under points", points), path("points", points));
    marks.append(group);
    const text = `${index + 1} · ${face.confidence.toFixed(2)}`;
    const tag = make("span", {}, text);
    const { left, top } = face.boundingBox;
    tag.style.setProperty("--left", `${(100 * left) / width}%`);
    tag.style.setProperty("--top", `${(100 * top) / height}%`);
    tag.style.setProperty("--characters", text.length);
    tags.append(tag);
  });
}

/** Make one face stand out, or, with -1, none. */
export function highlight(stage, index) {
  for (const layer of stage.querySelectorAll(".marks, .tags")) {
    layer.classList.toggle("one-of-them", index >= 0);
    [...layer.children].forEach((each, at) => each.classList.toggle("looked-at", at === index));
  }
}
