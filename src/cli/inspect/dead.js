// Dead letters: what could not become an event, why, and the two ways out.
import { get, post } from "./api.js";
import { $, button, confirmed, draw, el, say, setText } from "./dom.js";
import { bytes, clock, count, placeOf, plural } from "./text.js";

const NEWEST = 50; // are shown
let changed;

async function write(verb, id, question, style, done) {
  if (!await confirmed(`${verb} this dead letter?`, question, verb, style)) return;
  try {
    await post(`dead/${verb.toLowerCase()}`, { id });
    say(done);
    changed();
  } catch (failure) {
    say(failure.message);
  }
}

export const askReplay = id => write("Replay", id,
  "It goes through acrelay once more, with the same ce_id. If it still cannot be parsed, it stays here.", "main", "Replayed: it is in its stream now.");
export const askDrop = id => write("Drop", id,
  "Its bytes are deleted from Redis and cannot be brought back from here.", "danger", "Dropped.");

function card(letter) {
  const open = () => { location.hash = placeOf({ ...letter, entry: letter.id.split("/").pop() }); };
  const onkeydown = event => { if (event.key === "Enter" && event.target === event.currentTarget) open(); };
  const facts = [clock(letter.ce_recordedtime), letter.hook && `hook ${letter.hook}`, bytes(letter.bytes), letter["content-type"]];
  return el("li", { tabindex: "0", "data-item": true, onkeydown },
    el("p", {}, el("b", { class: "bad" }, letter.reason), " ", letter.detail), el("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    el("div", { class: "actions" }, button("Show its bytes", open),
      button("Replay", () => askReplay(letter.id)), button("Drop", () => askDrop(letter.id), "danger")));
}

export async function poll(head) {
  const { letters } = await get("dead"), { stream_dead: dead, commands_dead } = head ?? {};
  draw($("dead-list"), letters, () => letters.length ? letters.map(card)
    : el("li", { class: "empty" }, "No dead letters."));
  setText($("dead-note"), [
    dead > NEWEST && letters.length === NEWEST ? `The newest ${NEWEST} of ${count(dead)}. All of them: acrelay dead list.` : "",
    commands_dead ? `${plural(commands_dead, "command")} failed or expired: acrelay dead list --commands.` : ""].join(" "));
}

// whenChanged() is called when a letter has gone.
export function start(whenChanged) { changed = whenChanged; }
