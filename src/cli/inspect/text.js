// Values as a person reads them. What is not known (null) is said so.

const UNKNOWN = "not known";

// Local time of day with milliseconds, with the date when it is another day.
export function clock(time) {
  const d = new Date(time ?? NaN);
  if (isNaN(d)) return UNKNOWN;
  const local = new Date(d - d.getTimezoneOffset() * 60000).toISOString();
  return (d.toDateString() === new Date().toDateString() ? "" : `${local.slice(0, 10)} `) + local.slice(11, 23);
}

export function duration(ms) {
  if (ms === null) return UNKNOWN;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 120) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

// Seconds as the server gives them, null too.
export const seconds = s => duration(s === null ? null : s * 1000);

export function bytes(n) {
  if (n === null) return UNKNOWN;
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < 4; i++) n /= 1024;
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export const count = n => n === null ? UNKNOWN : n.toLocaleString("en");
export const plural = (n, word, words = `${word}s`) => `${count(n)} ${n === 1 ? word : words}`;
export const yesNo = (value, yes = "yes", no = "no") => value === null ? UNKNOWN : value ? yes : no;

// The place in the address of one delivery; its stream and entry say more than its ce_id.
export const placeOf = ({ ce_id, key, entry }) => `#${new URLSearchParams({ id: ce_id, key, entry })}`;

// Whether an entry's id is at most another.
export function isUpTo(id, last) {
  const [ms, n] = id.split("-").map(Number), [lastMs, lastN] = last.split("-").map(Number);
  return ms < lastMs || (ms === lastMs && n <= lastN);
}
