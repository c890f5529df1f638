// Elements from values. A value becomes a text node and nothing else: names, tags and bodies are
// whatever somebody at ActiveCampaign, or on the internet, has chosen.

export const $ = id => document.getElementById(id);

// el("p", { class: "quiet", onclick: f }, "text", otherElement); null and false are no child.
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...flat(children));
  return element;
}

const flat = children => [children].flat(Infinity).filter(child => child != null && child !== false);

export const button = (text, onclick, style) => el("button", { type: "button", class: style, onclick }, text);

const row = (cells, name = "td", scope = null) => el("tr", {}, cells.map(cell => el(name, { scope }, cell)));
export const tableHead = names => el("thead", {}, row(names, "th", "col"));
export const tableBody = rows => el("tbody", {}, rows.map(cells => row(cells)));

// Writes only what is different, so that nothing flickers and a selection of text stays.
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

// Replaces the children only when what they show has changed: `value` is what they are made of.
export function draw(element, value, make) {
  const key = JSON.stringify(value);
  if (element.drawn === key) return;
  element.drawn = key;
  element.replaceChildren(...flat(make()));
}

// Says what was done, for a while.
let saidTimer;
export function say(text) {
  setText($("said"), text);
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => setText($("said"), ""), 5000);
}

// Asks before something that cannot be undone.
export function confirmed(title, text, yes, style) {
  const dialog = $("confirm");
  setText($("confirm-title"), title);
  setText($("confirm-text"), text);
  setText($("confirm-yes"), yes);
  $("confirm-yes").className = style;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise(resolve =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
