// Hooks and commands, as tables.
import { get } from "./api.js";
import { $, draw, el, setText, tableBody, tableHead } from "./dom.js";
import { clock, count, plural, seconds } from "./text.js";

const word = (text, name) => el("span", { class: name }, text);
const under = (text, small) => small ? [text, el("small", {}, small)] : text;

const FOUND = {
  registered: ["as wanted", "good"], pending: ["not yet as wanted", "warn"],
  silent: ["as wanted", "good"], left: ["still there; its posts are refused", "bad"],
};

function silence({ silent, last_event_seconds, expect_every_seconds }) {
  if (silent) return word(`silent: nothing for ${seconds(last_event_seconds)}; expected at least every ${seconds(expect_every_seconds)}`, "bad");
  return expect_every_seconds === null ? word("not watched", "quiet") : word("no", "good");
}

function hookLine(hook) {
  const [found, name] = hook.state === null ? ["not known", "quiet"] : FOUND[hook.state] ?? [hook.state, "warn"];
  return [
    under(el("b", {}, hook.name), hook.label === hook.name ? null : hook.label),
    hook.wanted ? under("yes", `${plural(hook.events.length, "event")}, stream ${hook.stream ?? "not known"}`) : word("no, not in the file", "warn"),
    under(word(found, name), hook.checked && `seen ${clock(hook.checked)}`),
    hook.last_event === null ? word("none seen", "quiet") : under(hook.last_event_seconds === null ? "" : `${seconds(hook.last_event_seconds)} ago`, clock(hook.last_event)),
    under(silence(hook), hook.repaired && `created anew ${clock(hook.repaired)}`),
  ];
}

export async function pollHooks() {
  const { hooks, why } = await get("hooks");
  $("hooks-why").hidden = !why;
  setText($("hooks-why"), why);
  draw($("hook-table"), hooks, () => [tableHead(["Hook", "Wanted", "Found at ActiveCampaign", "Last event", "Silent"]),
    tableBody(hooks.length ? hooks.map(hookLine) : [["The file has no hooks."]])]);
}

const OUTCOME = { ok: "good", failed: "bad", refused: "bad", expired: "warn", superseded: "quiet" };

const serviceLine = service => [
  under(el("b", {}, service.name), service.error), service.allow.join(", ") || "nothing",
  count(service.waiting), service.waiting ? seconds(service.oldest_seconds) : "–",
];

const resultLine = ({ service, time, type, subject, outcome, status, attempts, detail }) => [
  el("span", { class: "mono" }, clock(time)), service, under(type, subject),
  word(outcome, OUTCOME[outcome] ?? "quiet"), under(status, attempts > 1 ? plural(Number(attempts), "attempt") : null), detail,
];

export async function pollCommands() {
  const { services } = await get("commands");
  const results = services.flatMap(({ name, results }) => results.map(result => ({ ...result, service: name })))
    .sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
  draw($("service-table"), services.map(({ results: _, ...rest }) => rest), () => [el("caption", {}, "Waiting"),
    tableHead(["Service", "May use", "Waiting", "Oldest"]), tableBody(services.map(serviceLine))]);
  draw($("result-table"), results, () => [el("caption", {}, "Results, newest first"),
    tableHead(["Time", "Service", "Command", "Outcome", "Answer", "Detail"]),
    tableBody(results.length ? results.map(resultLine) : [["No result yet."]])]);
}
