// Bodies and events as text with a little colour, and as commands to copy.
import { el } from "./dom.js";

const MASK = "•••";

// A text; what is masked in it are buttons that ask for it.
export function masked(text, reveal) {
  if (!reveal) return text;
  const button = () => el("button", { class: "masked", type: "button", title: "Show what is masked", onclick: reveal }, MASK);
  return text.split(MASK).flatMap((piece, i) => i ? [button(), piece] : [piece]);
}

const STRING = /("(?:[^"\\]|\\.)*")(\s*:)?/g;

// A value as indented JSON, its names coloured.
export function json(value, reveal) {
  const text = JSON.stringify(value, null, 2), parts = [];
  let at = 0;
  for (const found of text.matchAll(STRING)) {
    parts.push(text.slice(at, found.index),
      found[2] ? el("span", { class: "key" }, found[1]) : masked(found[1], reveal), found[2] ?? "");
    at = found.index + found[0].length;
  }
  return el("pre", { tabindex: "0" }, parts, text.slice(at));
}

// A word of a shell's command, whatever it holds.
const quoted = text => /^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

// $HOOK_URL stands for the URL of the hook, whose token this page never sees.
export function curl({ hook, raw }) {
  const query = raw.query ? quoted(`?${raw.query}`) : "";
  return `HOOK_URL=$(acrelay token ${quoted(hook)})\n` +
    `curl -H ${quoted(`Content-Type: ${raw.content_type}`)} --data-binary ${quoted(raw.body)} "$HOOK_URL"${query}`;
}

export function send({ hook, raw }) {
  return `printf %s ${quoted(raw.body)} |\n` +
    `  acrelay send --hook ${quoted(hook)} --content-type ${quoted(raw.content_type)} --file -`;
}

// The old way: the new one does not work over plain http from another machine.
export function copy(text) {
  document.addEventListener("copy", event => {
    event.clipboardData.setData("text/plain", text);
    event.preventDefault();
  }, { once: true });
  document.execCommand("copy");
}
