/** How alike the largest faces of the two photos are: the score against the embedder's operating point. */
import { make, replace, tell } from "./element.js";
import { card } from "./faces.js";
import * as key from "./key.js";
import { Refused, score } from "./service.js";
import { show } from "./trouble.js";
import { percent, say } from "./words.js";

const LINE = 0.5; // on every embedder's scale
const NEAR = 0.1; // so far from the line, a little more light or another pose may change the side

const section = document.querySelector("#comparison");

export function verdict(value) {
  if (Math.abs(value - LINE) < NEAR) return "near";
  return value > LINE ? "same" : "different";
}

function at(value) {
  return `${100 * value}%`;
}

function scale(value, points) {
  const zone = (name, from, to) => {
    const made = make("span", { className: `zone ${name}` }, name && say(`zone-${name}`));
    made.style.left = at(from);
    made.style.width = at(to - from);
    return made;
  };
  const mark = (className, where, text) => {
    const made = make("span", { className }, text);
    made.style.left = at(where);
    return made;
  };
  const others = points.filter((point) => Math.abs(point.score - LINE) > 1e-3);
  const bar = make("div", { className: "bar" });
  bar.append(
    zone("different", 0, LINE - NEAR),
    zone("",  LINE - NEAR, LINE + NEAR),
    zone("same", LINE + NEAR, 1),
    ...others.map((point) => mark("tick", point.score, "")),
    mark("line", LINE, ""),
    mark("pin", value, value.toFixed(3)),
  );
  const below = make("div", { className: "below" });
  below.append(mark("", 0, "0"), mark("", LINE, `0.5 ${say("operatingPoint")}`), mark("", 1, "1"));
  return make("div", { className: "scale", role: "img", "aria-label": say("scaleIs", value.toFixed(3)) }, bar, below);
}

function known(point) {
  if (point.far !== undefined) return say("rates", percent(point.far), percent(point.tar));
  return point.accuracy === null ? say("nothingKnown") : say("accuracy", percent(point.accuracy));
}

function pointsTable(points) {
  const rows = points.map((point) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, point.score.toFixed(3)),
      make("td", {}, point.cosine.toFixed(3)),
      make("td", {}, known(point)),
      make("td", { lang: "en" }, point.data),
    ),
  );
  const head = ["columnScore", "columnCosine", "columnKnown", "columnData"];
  const table = make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, say(name))))),
    make("tbody", {}, ...rows),
  );
  const scrolled = make("div", { className: "scrolled", tabIndex: 0, role: "region", "aria-label": say("points") });
  scrolled.append(table);
  return make("details", {}, make("summary", {}, say("points")), scrolled);
}

/** Dispatches "changed" with each answer and where there is none any more. */
export class Comparison extends EventTarget {
  #photos;
  #request;
  #refused;
  #of; // the two detections that it was asked for: with the same ones, there is nothing new to ask
  embedder; // what is told of it, once it is known
  answer;

  constructor(photos) {
    super();
    this.#photos = photos;
  }

  /** To be called when a photo has changed. */
  update() {
    const detections = this.#photos.map((photo) => photo.answer);
    if (detections.every((each, index) => each === this.#of?.[index])) {
      this.render(); // its pictures may be there only now
      return;
    }
    this.#of = detections;
    this.ask();
  }

  async ask() {
    this.#request?.abort();
    this.answer = this.#refused = this.#request = undefined;
    if (this.#of.every(Boolean)) this.#request = new AbortController();
    const request = this.#request;
    this.#changed();
    if (!request) return;
    try {
      const answer = await score(...this.#photos.map((photo) => photo.file), request.signal);
      if (request !== this.#request) return;
      this.answer = answer;
    } catch (error) {
      if (request !== this.#request) return;
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) key.ask("keyRefused"); // which says all there is to say
      else this.#refused = error;
    }
    this.#request = undefined;
    this.#changed();
  }

  #changed() {
    this.render();
    this.dispatchEvent(new Event("changed"));
  }

  render() {
    section.hidden = !(this.#request || this.answer || this.#refused);
    section.setAttribute("aria-busy", String(Boolean(this.#request)));
    show(document.querySelector("#comparison-trouble"), this.#refused, () => this.ask());
    const status = document.querySelector("#comparison-status");
    const result = document.querySelector("#comparison-result");
    const without = this.answer?.face_detects.flatMap((face, index) => (face.processed ? [] : [index + 1])) ?? [];
    if (!this.answer || without.length) {
      const instead = this.#request ? say("comparing") : "";
      tell(status, without.length ? say("noFaceIn", without) : instead);
      result.replaceChildren();
      return;
    }
    const { face_detects: faces, score: value } = this.answer;
    const found = verdict(value);
    tell(status, `${say(`verdict-${found}`)} ${say("scoreIs", value.toFixed(3))}`);
    status.dataset.verdict = found;
    const pair = faces.map((face, index) =>
      make("div", { className: "face" }, ...card(this.#photos[index].image, face, say("photo", index + 1))),
    );
    const points = this.embedder?.operating_points ?? [];
    replace(
      result,
      make("div", { className: "compared" }, pair[0], scale(value, points), pair[1]),
      make("p", {}, this.#meaning(points)),
      make("p", { className: "small" }, say("caution")),
      ...(points.length ? [pointsTable(points)] : []),
    );
  }

  #meaning(points) {
    const model = this.embedder;
    if (!model) return say("lineOf", "");
    const chosen = model.calibration
      ? say("lineCalibrated", model.calibration.data, model.calibration.date)
      : say("lineOf", model.name);
    const point = points.find((each) => Math.abs(each.score - LINE) < 1e-3 && each.accuracy !== null);
    return `${chosen} ${point ? say("lineAccuracy", percent(point.accuracy), point.data) : say("lineUnknown")}`;
  }
}
