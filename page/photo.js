/** One of the two photos: how it is chosen, what was found in it, and what went wrong. */
import { photograph } from "./camera.js";
import { make, replace, tell } from "./element.js";
import { describe } from "./faces.js";
import * as key from "./key.js";
import { upright } from "./orientation.js";
import * as overlay from "./overlay.js";
import { detect, Refused } from "./service.js";
import { show } from "./trouble.js";
import { label, say, seconds } from "./words.js";

/**
 * Dispatches "changed" whenever it shows something else: another file, or another answer.
 *
 * file: a File, undefined where there is none. image: the picture, undefined where the browser can't show it. answer:
 * the body of the service's, undefined while there is none.
 */
export class Photo extends EventTarget {
  #number;
  #settings; // a function that answers the order and the most faces
  #article;
  #image;
  #url;
  #request; // an AbortController; of the newest request alone
  #refused;
  #notice; // a Refused of something that is no photo, beside the one that is there
  #took = 0;
  #shown = ""; // whether the browser shows the picture: "", "yes" or "no"

  file;
  answer;

  constructor(number, settings) {
    super();
    this.#number = number;
    this.#settings = settings;
    const template = document.querySelector("#photo");
    this.#article = template.content.cloneNode(true).firstElementChild;
    document.querySelector("#photos").append(this.#article);
    const heading = this.#part("h3");
    heading.id = `photo-${number}-heading`;
    this.#article.id = `photo-${number}`;
    this.#article.setAttribute("aria-labelledby", heading.id);
    this.#image = this.#part("img");
    this.#listen();
    this.render();
  }

  get element() {
    return this.#article;
  }

  get image() {
    return this.#shown === "yes" ? this.#image : undefined;
  }

  #part(selector) {
    return this.#article.querySelector(selector);
  }

  #listen() {
    const input = this.#part("input[type=file]");
    input.addEventListener("change", () => {
      if (input.files.length) this.take(input.files[0]);
      input.value = ""; // the same file may be chosen again
    });
    this.#part(".by-camera").addEventListener("click", async () => {
      const taken = await photograph();
      if (taken) this.take(taken);
    });
    this.#part(".remove").addEventListener("click", () => {
      this.take(undefined);
      input.focus();
    });
    this.#part(".drop").addEventListener("click", () => input.click());
    this.#image.addEventListener("load", () => this.#pictureIs("yes"));
    this.#image.addEventListener("error", () => this.#pictureIs("no"));
  }

  #pictureIs(shown) {
    if (!this.#url) return;
    this.#shown = shown;
    this.render();
    this.dispatchEvent(new Event("changed"));
  }

  /** Show another file, or, with undefined, none. */
  take(file) {
    URL.revokeObjectURL(this.#url);
    this.#url = undefined;
    this.#image.removeAttribute("src");
    this.file = file;
    this.#shown = "";
    if (file) this.#show(file);
    this.ask();
  }

  /** Tell that what was dropped on it is no file; the photo that is there stays. */
  refuse() {
    this.#notice = new Refused("drop");
    this.render();
  }

  async #show(file) {
    const picture = await upright(file);
    if (file !== this.file) return;
    this.#url = URL.createObjectURL(picture);
    this.#image.src = this.#url;
  }

  /** Ask the service what is in it; what was asked before is given up, and can come too late no more. */
  async ask() {
    this.#request?.abort();
    this.answer = this.#refused = this.#notice = this.#request = undefined;
    if (this.file && !key.key()) key.ask("keyFirst");
    else if (this.file) this.#request = new AbortController();
    const request = this.#request;
    this.#changed();
    if (!request) return;
    const began = performance.now();
    try {
      const answer = await detect(this.file, this.#settings(), request.signal);
      if (request !== this.#request) return;
      this.answer = answer;
      this.#took = performance.now() - began;
    } catch (error) {
      if (request !== this.#request) return;
      if (!(error instanceof Refused)) throw error;
      this.#refused = error;
      if (error.status === 401) key.ask("keyRefused");
    }
    this.#request = undefined;
    this.#changed();
  }

  #changed() {
    this.render();
    this.dispatchEvent(new Event("changed"));
  }

  #status() {
    if (this.#request) return say("looking");
    if (this.answer) return say("found", this.answer.faces.length, seconds(this.#took));
    return this.file && (this.#refused?.status ?? 401) === 401 ? say("waitsForKey") : "";
  }

  render() {
    const name = say("photo", this.#number);
    label(this.#article);
    const optional = this.#number > 1 && !this.file ? say("toCompare") : "";
    this.#part("h3").replaceChildren(`${name} `, make("span", { className: "small" }, optional));
    this.#part(".drop").hidden = Boolean(this.file);
    this.#part(".button").classList.toggle("main", !this.file);
    this.#part("figure").hidden = !this.file;
    this.#part(".stage").hidden = this.#shown === "no";
    this.#part("input").setAttribute("aria-label", `${say("choose")}: ${name}`);
    this.#part(".by-camera").setAttribute("aria-label", `${say("camera")}: ${name}`);
    this.#part(".remove").setAttribute("aria-label", `${say("remove")}: ${name}`);
    this.#part(".remove").hidden = !this.file;
    this.#part("figcaption").textContent = this.file ? this.#caption() : "";
    this.#image.alt = this.file ? `${name}: ${this.file.name}` : "";
    this.#article.setAttribute("aria-busy", String(Boolean(this.#request)));
    tell(this.#part(".status"), this.#status());
    const unauthorised = this.#refused?.status === 401; // is told where the key is asked for
    const refused = unauthorised ? undefined : this.#refused;
    show(this.#part(".trouble"), this.#notice ?? refused, () => this.ask());
    const faces = this.answer?.faces ?? [];
    const stage = this.#part(".stage");
    if (this.image) overlay.draw(stage, { width: this.#image.naturalWidth, height: this.#image.naturalHeight }, faces);
    else overlay.clear(stage);
    // As long as the picture is being read, there are no crops; this is called again after it.
    const ready = this.#shown !== "";
    const lookAt = (index) => overlay.highlight(stage, index);
    replace(this.#part(".found"), ...(ready ? describe(name, this.image, faces, lookAt) : []));
  }

  #caption() {
    const { name, size } = this.file;
    const told = `${name} (${say("size", size)})`;
    if (this.#shown === "no" && this.answer) return `${told}. ${say("notShown")}`;
    return this.image ? `${told}, ${this.#image.naturalWidth} × ${this.#image.naturalHeight}` : told;
  }
}
