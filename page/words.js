/** What the page says, in the language that was chosen. */
import en from "./en.js";
import ko from "./ko.js";
import { tab } from "./tab.js";

const TEXTS = { en, ko };
const KEPT = "facebento.language";

let language = kept() ?? preferred();

function kept() {
  const before = tab.getItem(KEPT);
  return before in TEXTS ? before : undefined;
}

function preferred() {
  const wanted = navigator.languages.map((each) => each.split("-")[0]);
  return wanted.find((each) => each in TEXTS) ?? "en";
}

/** The text of that name. Some are functions of what they tell. */
export function say(name, ...facts) {
  const text = TEXTS[language][name];
  return typeof text === "function" ? text(...facts) : text;
}

/** A share as percent: 0.9938 as 99.38 %. */
export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 3 }).format(share);
}

export function seconds(milliseconds) {
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return new Intl.NumberFormat(language, digits).format(milliseconds / 1000);
}

/** Put the texts that don't change into everything below root. */
export function label(root) {
  for (const each of root.querySelectorAll("[data-text]")) each.textContent = say(each.dataset.text);
  for (const each of root.querySelectorAll("[data-label]")) each.setAttribute("aria-label", say(each.dataset.label));
}

/** Label the whole page, now and whenever another language is chosen; changed() is called after that. */
export function install(changed) {
  const buttons = document.querySelectorAll("[data-language]");
  const apply = () => {
    document.documentElement.lang = language;
    document.title = say("title");
    label(document);
    for (const each of buttons) each.setAttribute("aria-pressed", String(each.dataset.language === language));
  };
  for (const each of buttons) {
    each.addEventListener("click", () => {
      language = each.dataset.language;
      tab.setItem(KEPT, language);
      apply();
      changed();
    });
  }
  apply();
}
