// Dead letters: what could not become an event, why, and the two ways out.
import { get, post } from "./api.js";
import { $, button, confirmed, draw, el, setText } from "./dom.js";
import { bytes, clock, count, plural } from "./text.js";

let openLetter, said, changed;

async function write(verb, { key, id }, done) {
  try {
    await post(`dead/${verb}`, { key, id });
    said(done);
    changed();
  } catch (failure) {
    said(failure.message);
  }
}

export async function askReplay(letter) {
  if (await confirmed("Replay this dead letter?", "It goes through acrelay once more, with the same ce_id. If it still cannot be read, it stays here.", "Replay", "main"))
    await write("replay", letter, "Replayed: it is in its stream now.");
}

export async function askDrop(letter) {
  if (await confirmed("Drop this dead letter?", "Its bytes are deleted from Redis and cannot be brought back from here.", "Drop", "danger"))
    await write("drop", letter, "Dropped.");
}

function card(letter) {
  const open = () => openLetter({ ce_id: letter.ce_id, key: letter.key, entry: letter.id });
  const onkeydown = event => { if (event.key === "Enter" && event.target === event.currentTarget) open(); };
  const facts = [clock(letter.received || letter.time), letter.hook && `hook ${letter.hook}`, bytes(letter.bytes), letter.content_type];
  return el("li", { tabindex: "0", "data-item": true, onkeydown },
    el("p", {}, el("b", { class: "bad" }, letter.reason), " ", letter.detail), el("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    el("div", { class: "actions" }, button("Show its bytes", open),
      button("Replay", () => askReplay(letter)), button("Drop", () => askDrop(letter), "danger")));
}

export async function poll(head) {
  const { letters, total, more } = await get("dead"), commands = head?.dead_commands;
  draw($("dead-list"), letters, () => letters.length ? letters.map(card)
    : el("li", { class: "empty" }, "No dead letters. Every delivery became an event."));
  setText($("dead-more"), more ? `The newest ${letters.length} of ${count(total)}. All of them: acrelay dead list` : "");
  setText($("dead-commands"), commands ? `${plural(commands, "command")} failed or expired: acrelay dead list --commands` : "");
}

export function start(open, say, soon) {
  [openLetter, said, changed] = [open, say, soon];
}
