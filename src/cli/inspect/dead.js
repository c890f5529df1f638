// Dead letters: what could not become an event, why, and the two ways out.
import { get, post } from "./api.js";
import { $, confirmed, draw, el, setText } from "./dom.js";
import { bytes, clock, count } from "./text.js";

let openLetter = () => {}, said = () => {}, changed = () => {};
const PAGES_MAX = 20;
let pages = 1;

async function write(verb, letter, done) {
  try {
    await post(`dead/${verb}`, letter);
    said(done);
    changed();
  } catch (failure) {
    said(failure.message);
  }
}

export async function askReplay({ key, id }) {
  if (await confirmed("Replay this dead letter?", "It goes through acrelay once more, with the same ce_id. If it still cannot be read, it stays here.", "Replay", "main"))
    await write("replay", { key, id }, "Replayed: it is in its stream now.");
}

export async function askDrop({ key, id }) {
  if (await confirmed("Drop this dead letter?", "Its bytes are deleted from Redis and cannot be brought back from here.", "Drop", "danger"))
    await write("drop", { key, id }, "Dropped.");
}

const REASONS = { empty: "The body is empty.", nul: "The body holds a NUL byte.", pairs: "The form has more than 10,000 pairs.",
  json: "The JSON is broken, or is no object.", multipart: "The body is multipart, which ActiveCampaign does not send.",
  encoding: "The body is compressed.", size: "The event would be larger than 8 MiB.", redis: "Redis refused this one entry.",
  gap: "Deliveries are missing: the journal lost them before they reached the stream." };

function card(letter) {
  const open = () => openLetter({ ce_id: letter.ce_id, key: letter.key, entry: letter.id });
  const act = (text, onclick, name = "") => el("button", { type: "button", class: name, onclick }, text);
  const { key, id } = letter;
  return el("li", { tabindex: "0", "data-item": true, onkeydown: event => { if (event.key === "Enter" && event.target === event.currentTarget) open(); } },
    el("p", {}, el("b", { class: "bad" }, letter.reason), " ", REASONS[letter.reason] ?? ""),
    el("p", {}, letter.detail),
    el("p", { class: "quiet" }, [clock(letter.received ?? letter.time), letter.hook && `hook ${letter.hook}`, bytes(letter.bytes), letter.content_type].filter(Boolean).join(" · ")),
    el("div", { class: "actions" }, act("Show its bytes", open), act("Replay", () => askReplay({ key, id })), act("Drop", () => askDrop({ key, id }), "danger")));
}

function deadCommand(letter) {
  return el("li", { tabindex: "0", "data-item": true },
    el("p", {}, el("b", { class: "bad" }, letter.outcome), ` ${letter.type} ${letter.subject}`),
    el("p", {}, letter.detail),
    el("p", { class: "quiet" }, [clock(letter.time), `service ${letter.service}`, letter.status && `answered ${letter.status}`, letter.ce_id].filter(Boolean).join(" · ")));
}

function show(letters, { total, more }, commands) {
  draw($("dead-list"), letters, () => letters.length ? letters.map(card) : el("li", { class: "empty" }, "No dead letters. Every delivery became an event."));
  $("dead-more").hidden = more === null || pages === PAGES_MAX;
  setText($("dead-more"), `Show older ones (${count(total)} in all)`);
  $("dead-commands").hidden = commands.length === 0;
  draw($("dead-command-list"), commands, () => commands.map(deadCommand));
}

export async function poll(head) {
  const commands = head?.dead_commands ? (await get("dead", { commands: 1 })).letters : [];
  let answer = { more: null }, letters = [];
  for (let page = 0; page < pages && (page === 0 || answer.more); page++) {
    answer = await get("dead", { before: answer.more });
    letters = letters.concat(answer.letters);
  }
  show(letters, answer, commands);
}

export function start(open, say, soon) {
  [openLetter, said, changed] = [open, say, soon];
  $("dead-more").addEventListener("click", () => { pages = Math.min(pages + 1, PAGES_MAX); soon(); });
}
