// Hooks and commands, as tables.
import { $, draw, el, setText, tableBody, tableHead } from "./dom.js";
import { clock, count, plural, seconds } from "./text.js";

const word = (text, name) => el("span", { class: name }, text);
const under = (text, small) => small ? [text, el("small", {}, small)] : text;

const FOUND = {
  registered: ["in sync", "good"], pending: ["not yet in sync", "warn"],
  silent: ["in sync", "good"], left: ["still registered; its posts are refused", "bad"],
};

function silence({ state, last_event_age_seconds, expect_every_seconds }) {
  if (state === "silent") return word(`silent: nothing for ${seconds(last_event_age_seconds)}; expected at least every ${seconds(expect_every_seconds)}`, "bad");
  return expect_every_seconds ? word("no", "good") : word("not monitored", "quiet");
}

function hookLine(hook) {
  const [found, name] = hook.state === "" ? ["not known", "quiet"] : FOUND[hook.state] ?? [hook.state, "warn"];
  const age = hook.last_event_age_seconds;
  return [
    under(el("b", {}, hook.name), hook.label === hook.name ? null : hook.label),
    hook.wanted ? under("yes", `${plural(hook.events.length, "event")}, stream ${hook.stream}`) : word("no, not in the file", "warn"),
    under(word(found, name), hook.checked && `seen ${clock(hook.checked)}`),
    hook.last_event === "" ? word("none seen", "quiet") : under(age === undefined ? "" : `${seconds(age)} ago`, clock(hook.last_event)),
    under(silence(hook), hook.repaired && `re-created ${clock(hook.repaired)}`),
  ];
}

export function drawHooks({ hooks, hooks_error }) {
  $("hooks-why").hidden = !hooks_error;
  setText($("hooks-why"), hooks_error ?? "");
  draw($("hook-table"), hooks, () => [tableHead(["Hook", "Configured", "Found at ActiveCampaign", "Last event", "Silent"]),
    tableBody(hooks.length ? hooks.map(hookLine) : [["The file has no hooks."]])]);
}

const OUTCOME = { ok: "good", failed: "bad", refused: "bad", expired: "warn", superseded: "quiet" };

const serviceLine = ({ name, error, allow, waiting = null, oldest_seconds = null }) => [
  under(el("b", {}, name), error), allow.join(", ") || "nothing", count(waiting), waiting ? seconds(oldest_seconds) : "–",
];

const resultLine = ({ service, time, ce_type, ce_subject, outcome, status, attempts, detail }) => [
  el("span", { class: "mono" }, clock(time)), service, under(ce_type.split(".").pop(), ce_subject),
  word(outcome, OUTCOME[outcome] ?? "quiet"), under(status, attempts > 1 ? plural(Number(attempts), "attempt") : null), detail,
];

export function drawCommands({ services }) {
  const results = services.flatMap(({ name, results = [] }) => results.map(result => ({ ...result, service: name })))
    .sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
  draw($("service-table"), services.map(({ results: _, ...rest }) => rest), () => [el("caption", {}, "Waiting"),
    tableHead(["Service", "May use", "Waiting", "Oldest"]), tableBody(services.map(serviceLine))]);
  draw($("result-table"), results, () => [el("caption", {}, "Results, newest first"),
    tableHead(["Time", "Service", "Command", "Outcome", "Answer", "Detail"]),
    tableBody(results.length ? results.map(resultLine) : [["No result yet."]])]);
}
