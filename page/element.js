/** An element with these properties and children. Text is only ever text: nothing that is passed here becomes markup. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Put other children in its place. Where a details of it was open, that of the new ones is. */
export function replace(box, ...children) {
  const open = Boolean(box.querySelector("details")?.open);
  box.replaceChildren(...children);
  for (const details of box.querySelectorAll("details")) details.open = open;
}

/** Have it tell that. What it tells already is not set anew: a screen reader would speak it again. */
export function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
