// Elements from values. A value becomes a text node and nothing else: names, tags and bodies are
// whatever somebody at ActiveCampaign, or on the internet, has chosen.

export const $ = id => document.getElementById(id);

// el("p", { class: "quiet", onclick: f }, "text", otherElement)
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter(child => child != null));
  return element;
}

// Writes only what is different, so that nothing flickers and a selection of text stays.
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

// Replaces the children only when what they show has changed: `value` is what they are made of.
export function draw(element, value, make) {
  const key = JSON.stringify(value);
  if (element.drawn === key) return;
  element.drawn = key;
  element.replaceChildren(...[make()].flat());
}

// Asks before something that cannot be undone.
export function confirmed(title, text, yes, style) {
  const dialog = $("confirm");
  setText($("confirm-title"), title);
  setText($("confirm-text"), text);
  setText($("confirm-yes"), yes);
  setClass($("confirm-yes"), style);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise(resolve =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
