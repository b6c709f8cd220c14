/** The page: two photos, what is found in them, how alike they are, and the requests that were made. */
import * as about from "./about.js";
import { Code } from "./code.js";
import { Comparison } from "./comparison.js";
import * as key from "./key.js";
import { Photo } from "./photo.js";
import * as words from "./words.js";

const order = document.querySelector("#order");
const most = document.querySelector("#most");

function settings() {
  return { order: Number(order.value), most: Number(most.value) };
}

const photos = [1, 2].map((number) => new Photo(number, settings));
const comparison = new Comparison(photos);
const code = new Code();

/** The requests that were answered, in the order in which they were made. */
function exchanges() {
  const { order: detectSortType, most: maxResults } = settings();
  const detections = photos.flatMap(({ file, answer }, index) => {
    const fields = { maxResults, detectSortType };
    const request = { path: "v1/file/detect", method: "detect", files: [["image", file?.name]], fields };
    return answer ? [{ name: words.say("photo", index + 1), request, answer }] : [];
  });
  if (!comparison.answer) return detections;
  const files = photos.map(({ file }, index) => [`image${index + 1}`, file.name]);
  const request = { path: "v1/file/score", method: "score", files, fields: {} };
  return [...detections, { name: words.say("comparisonHeading"), request, answer: comparison.answer }];
}

function learn() {
  about.install((embedder) => {
    comparison.embedder = embedder;
    comparison.render();
  });
}

function askAgain() {
  for (const photo of photos) if (photo.file) photo.ask();
}

for (const photo of photos) {
  photo.addEventListener("changed", () => {
    if (photo.answer && !comparison.embedder) learn(); // it was starting when the page was opened
    comparison.update();
  });
}
comparison.addEventListener("changed", () => code.render(exchanges()));

order.addEventListener("change", askAgain);
most.addEventListener("change", () => {
  const asked = most.value === "" ? 750 : Math.round(Number(most.value));
  most.value = String(Math.min(750, Math.max(1, asked)));
  askAgain();
});

/** Where a file goes that was pasted, or dropped beside both photos: where the focus is, or to where there is room. */
function place() {
  const focused = photos.find((photo) => photo.element.contains(document.activeElement));
  return focused ?? photos.find((photo) => !photo.file) ?? photos[1];
}

function takeAll(files, first) {
  if (files.length === 0) return;
  first.take(files[0]);
  if (files.length > 1) photos.find((photo) => photo !== first).take(files[1]);
}

document.addEventListener("paste", (event) => takeAll([...event.clipboardData.files], place()));
/** Whether it is text for a field that takes text, which the browser then does by itself. */
function isTyping({ target, dataTransfer }) {
  return !dataTransfer.types.includes("Files") && Boolean(target.matches?.("input:not([type=file])"));
}

document.addEventListener("dragover", (event) => {
  if (isTyping(event)) return;
  event.preventDefault(); // else the browser would leave the page and show the file
  const files = event.dataTransfer.types.includes("Files");
  for (const { element } of photos) element.classList.toggle("dragged-over", files && element.contains(event.target));
});
document.addEventListener("dragleave", () => {
  for (const { element } of photos) element.classList.remove("dragged-over");
});
document.addEventListener("drop", (event) => {
  if (isTyping(event)) return;
  event.preventDefault();
  for (const { element } of photos) element.classList.remove("dragged-over");
  const onto = photos.find((photo) => photo.element.contains(event.target)) ?? place();
  const files = [...event.dataTransfer.files];
  if (files.length) takeAll(files, onto);
  else onto.refuse();
});

const renderKey = key.install(askAgain);
words.install(() => {
  renderKey();
  about.render();
  for (const photo of photos) photo.render();
  comparison.render();
  code.render(exchanges());
});
learn();
