// One delivery: its journey, the event, the form as decoded, the bytes as received, the entry.
import { get, post } from "./api.js";
import { copy, curl, json, masked, send } from "./code.js";
import { $, draw, el } from "./dom.js";
import { drawJourney, groupRows } from "./journey.js";
import { askDrop, askReplay } from "./dead.js";
import { bytes, plural } from "./text.js";

const box = $("detail");
let target = null;       // { ce_id, key, entry }
let shown = null;        // what was answered, unmasked after reveal()
let parts = null;
let said = () => {}, closed = () => {};

export const openId = () => target?.ce_id ?? null;

export function open(wanted) {
  if (target === wanted) return;
  target = wanted;
  shown = null;
  parts = null;
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
    if (wanted !== target) return;
    // What was revealed stays so; only its journey goes on.
    shown = shown && !shown.masked ? { ...shown, journey: answer.journey, entry: answer.entry } : answer;
    show();
  } catch (failure) {
    if (failure.status !== 404 && failure.status !== 400) throw failure;
    if (wanted === target) box.replaceChildren(top("Not found"), el("p", { class: "lead" }, failure.message));
  }
}

export async function reveal() {
  const wanted = target;
  const answer = await post("reveal", wanted);
  if (wanted !== target) return;
  shown = answer;
  show();
  said("Personal data of this one delivery is shown until you close it.");
}

// --- drawing --------------------------------------------------------------------------

function top(title, note) {
  return el("div", { class: "top" },
    el("div", {}, el("h2", {}, title), note ? el("p", { class: "quiet" }, note) : null),
    el("button", { type: "button", "aria-label": "Close", title: "Close (Escape)", onclick: () => closed() }, "✕"));
}

const section = (title, open) => {
  const content = el("div");
  return { content, element: el("details", { open }, el("summary", {}, title), content) };
};

function build() {
  parts = { journey: el("ol", { class: "journey" }), groups: el("table", { "aria-label": "Groups" }), actions: el("div", { class: "actions" }),
    event: section("Event, as consumers read it", true), form: section("Form, decoded", true),
    raw: section("Body, as received", false), entry: section("Stream entry", false) };
  const title = shown.journey.reason ? `Dead letter: ${shown.journey.reason}` : shown.type ?? "Delivery";
  const subject = shown.entry?.fields.ce_subject, hook = shown.hook && `hook ${shown.hook}`;
  box.replaceChildren(top(title, [subject, hook].filter(Boolean).join(" · ")), parts.journey, parts.groups, parts.actions,
    ...[parts.event, parts.form, parts.raw, parts.entry].map(part => part.element));
}

function show() {
  if (!parts) build();
  const ask = shown.masked ? () => reveal().catch(failure => said(failure.message)) : null;
  drawJourney(parts.journey, shown.journey);
  parts.groups.hidden = !shown.journey.groups.length;
  draw(parts.groups, shown.journey.groups, () => groupRows(shown.journey.groups));
  draw(parts.actions, [shown.masked, shown.journey.reason, shown.raw.body, shown.entry?.id], () => actions(ask));
  draw(parts.event.content, [shown.event, shown.masked], () => shown.event ? json(shown.event, ask) : why(shown.event_why || "This delivery is no event."));
  draw(parts.form.content, [shown.form, shown.masked], () => form(ask));
  draw(parts.raw.content, [shown.raw, shown.masked], () => raw(ask));
  draw(parts.entry.content, [shown.entry, shown.masked], () => entry(ask));
}

const why = text => el("p", { class: "quiet" }, text);
const button = (text, onclick, name = "") => el("button", { type: "button", class: name, onclick }, text);
const copying = (text, what) => () => copy(text()).then(() => said(
  `${what} is copied.${shown.masked ? " What is masked is masked in it too." : ""}${shown.raw.exact || shown.masked ? "" : " Some of its bytes are written as \\xHH."}`));

function actions(ask) {
  const { key, id } = shown.entry ?? {};
  return [
    ask && button("Show personal data", ask, "main"),
    shown.raw.body !== null && shown.hook && [
      button("Copy as curl", copying(() => curl(shown), "The curl command"), "copy-curl"),
      button("Copy as acrelay send", copying(() => send(shown), "The acrelay command"), "copy-send")],
    button("Copy link", copying(() => link(), "The link, which needs a token of its own,")),
    shown.journey.reason && id && [button("Replay", () => askReplay({ key, id })), button("Drop", () => askDrop({ key, id }), "danger")],
  ].flat().filter(Boolean);
}

const link = () => `${location.origin}${location.pathname}#id=${shown.ce_id}`;

function form(ask) {
  if (!shown.form) return why(shown.raw.body === null ? shown.raw.why : "The body is no form.");
  const rest = shown.form_pairs - shown.form.length;
  return [el("table", { class: "pairs", "aria-label": "Pairs of the form" }, el("tbody", {}, shown.form.map(([name, text]) =>
    el("tr", {}, el("td", {}, masked(name, ask)), el("td", {}, masked(text, ask)))))),
    rest > 0 ? why(`${plural(rest, "more pair")}: acrelay journal dump ${shown.sequence}`) : null].filter(Boolean);
}

const facts = pairs => el("dl", { class: "facts" }, pairs.flatMap(([name, text]) => [el("dt", {}, name), el("dd", { class: "mono" }, text)]));

function raw(ask) {
  const { from, body, content_type, query, encoding, exact } = shown.raw;
  return [facts([["content type", content_type || "none"], encoding && ["encoding", encoding], query && ["query", masked(query, ask)],
    ["size", bytes(shown.raw.bytes)], ["from", from ? `the ${from}` : "nowhere: it is not kept, or not on this machine"]].filter(Boolean)),
    body === null ? why(shown.raw.why) : el("pre", { tabindex: "0" }, masked(body, ask)),
    body !== null && !exact && !shown.masked ? why("Some bytes are written as \\xHH.") : null].filter(Boolean);
}

function entry(ask) {
  if (!shown.entry) return [facts([["ce_id", shown.ce_id]]), why(shown.entry_why)];
  const { key, id, fields } = shown.entry;
  return facts([["stream", key], ["entry id", id], ["ce_id", shown.ce_id],
    ...Object.entries(fields).filter(([name, text]) => name !== "ce_id" && text !== "").map(([name, text]) => [name, masked(text, ask)])]);
}

export function copyCurl() { box.querySelector(".copy-curl")?.click(); }

export function start(say, close) {
  [said, closed] = [say, close];
}
