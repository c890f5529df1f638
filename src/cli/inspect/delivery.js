// One delivery: its journey, the event, the form as decoded, the bytes as received, the entry.
import { get, post } from "./api.js";
import { copy, curl, json, masked, send } from "./code.js";
import { askDrop, askReplay } from "./dead.js";
import { $, button, draw, el, say, tableBody } from "./dom.js";
import { drawJourney, groupRows } from "./journey.js";
import { bytes, plural } from "./text.js";

const box = $("detail");
let target = null, parts = null;  // { ce_id, key, entry }; the elements it is drawn in
let shown = null;                 // what was answered; unmasked after reveal()
let closed;

export const openId = () => target?.ce_id ?? null;

export function open(wanted) {
  if (target?.ce_id === wanted.ce_id && (!wanted.entry || target.entry === wanted.entry)) return;
  [target, shown, parts] = [wanted, null, null];
  box.hidden = false;
  box.scrollTop = 0;
  box.replaceChildren(top("Loading…"));
}

export function close() {
  target = null;
  box.hidden = true;
}

export async function poll() {
  const wanted = target;
  try {
    const answer = await get("delivery", wanted);
    if (answer.entry) [wanted.key, wanted.entry] = [answer.entry.key, answer.entry.id]; // found at once from here on
    // What was revealed stays so; only its journey goes on.
    if (wanted === target) show(shown?.masked === false ? { ...shown, journey: answer.journey } : answer);
  } catch (failure) {
    if (failure.status !== 404 && failure.status !== 400) throw failure;
    if (wanted === target) box.replaceChildren(top("Not found"), why(failure.message));
  }
}

export async function reveal() {
  const wanted = target;
  try {
    const answer = await post("reveal", wanted);
    if (wanted !== target) return;
    show(answer);
    say("Personal data of this one delivery is shown until you close it.");
  } catch (failure) {
    say(failure.message);
  }
}

const why = text => el("p", { class: "quiet" }, text);
const facts = pairs => el("dl", { class: "facts" },
  pairs.flatMap(([name, text]) => text ? [el("dt", {}, name), el("dd", { class: "mono" }, text)] : []));

function top(title, note = "") {
  return el("div", { class: "top" }, el("div", {}, el("h2", {}, title), why(note)),
    el("button", { type: "button", "aria-label": "Close", title: "Close (Escape)", onclick: () => closed() }, "✕"));
}

const event = ask => shown.event ? json(shown.event, ask) : why(shown.event_why || "This delivery is not an event.");

function form(ask) {
  if (!shown.form) return why(shown.raw.body === null ? shown.raw.why : "The body is not a form.");
  const rest = shown.form_pairs - shown.form.length;
  const rows = shown.form.map(pair => pair.map(text => masked(text, ask)));
  return [el("table", { class: "pairs", "aria-label": "Pairs of the form" }, tableBody(rows)),
    rest > 0 ? why(`${plural(rest, "more pair")}: acrelay journal dump ${shown.sequence}`) : null];
}

function body(ask) {
  const { from, body, content_type, query, encoding, exact, why: reason } = shown.raw;
  return [facts([["content type", content_type || "none"], ["encoding", encoding], ["query", query && masked(query, ask)],
    ["size", bytes(shown.raw.bytes)], ["from", from ? `the ${from}` : "nowhere: it is not kept, or not on this machine"]]),
    body === null ? why(reason) : el("pre", { tabindex: "0" }, masked(body, ask)),
    body === null || exact || shown.masked ? null : why("Some bytes are written as \\xHH.")];
}

function entry(ask) {
  if (!shown.entry) return [facts([["ce_id", shown.ce_id]]), why(shown.entry_why)];
  const { ce_id: _, ...fields } = shown.entry.fields;
  return facts([["stream", shown.entry.key], ["entry id", shown.entry.id], ["ce_id", shown.ce_id],
    ...Object.entries(fields).map(([name, text]) => [name, text && masked(text, ask)])]);
}

const SECTIONS = [["Event, as consumers read it", true, event], ["Form, decoded", true, form],
  ["Body, as received", false, body], ["Stream entry", false, entry]];

function build() {
  const { journey, type, hook } = shown;
  parts = { journey: el("ol", { class: "journey" }), groups: el("table", { "aria-label": "Groups" }),
    actions: el("div", { class: "actions" }), sections: SECTIONS.map(() => el("div")) };
  box.replaceChildren(
    top(journey.reason ? `Dead letter: ${journey.reason}` : type || "Delivery",
      [shown.entry?.fields.ce_subject, hook && `hook ${hook}`].filter(Boolean).join(" · ")),
    parts.journey, parts.groups, parts.actions,
    ...SECTIONS.map(([title, open, make], i) => el("details", { open: open || (make === body && journey.reason !== null) }, el("summary", {}, title), parts.sections[i])));
}

function show(answer) {
  shown = answer;
  if (!parts) build();
  const ask = shown.masked ? reveal : null, { journey, ...rest } = shown;
  drawJourney(parts.journey, journey);
  parts.groups.hidden = !journey.groups.length;
  draw(parts.groups, journey.groups, () => groupRows(journey.groups));
  draw(parts.actions, [rest, journey.reason], () => actions(ask));
  SECTIONS.forEach(([, , make], i) => draw(parts.sections[i], rest, () => make(ask)));
}

function copying(what, text) {
  copy(text);
  say(`${what} is copied.${shown.masked ? " What is masked here is masked in it too." : shown.raw.exact ? "" : " Some of its bytes are written as \\xHH."}`);
}

function actions(ask) {
  const { key, id } = shown.entry ?? {}, letter = shown.journey.reason && `${key.slice(1, key.indexOf("}"))}/${id}`, hasBody = shown.raw.body !== null && shown.hook;
  return [
    ask && button("Show personal data", ask, "main"),
    hasBody && button("Copy as curl", () => copying("The curl command", curl(shown)), "copy-curl"),
    hasBody && !shown.raw.query && button("Copy as acrelay send", () => copying("The acrelay command", send(shown))),
    button("Copy link", () => { copy(`${location.origin}/#id=${shown.ce_id}`); say("The link, without the token, is copied."); }),
    letter && button("Replay", () => askReplay(letter)), letter && button("Drop", () => askDrop(letter), "danger")];
}

export function copyCurl() { box.querySelector(".copy-curl")?.click(); }

export function start(close) { closed = close; }
