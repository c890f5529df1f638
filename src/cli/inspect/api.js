// The program behind this page, as API.md says: every request carries the token, and every failure is a sentence.

const KEY = "acrelay-token";

// The token comes in the address's fragment, which no server sees. It is kept for this tab only,
// and taken out of the address at once, so that it is not copied along with a link.
export function takeToken(text = location.hash) {
  const words = new URLSearchParams(text.slice(text.indexOf("#") + 1)), token = words.get("token");
  if (!token) return false;
  sessionStorage.setItem(KEY, token);
  words.delete("token");
  if (text === location.hash) history.replaceState(null, "", location.pathname + (words.size ? `#${words}` : ""));
  return true;
}

// 401: the token was refused, or, without a message, there is none; no status: nobody answers.
const failure = (message, status) => Object.assign(new Error(message), { status });

async function request(method, path, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  const token = sessionStorage.getItem(KEY), headers = { Authorization: `Bearer ${token}` };
  if (!token) throw failure("", 401);
  if (method === "POST") headers["X-Acrelay"] = "1";
  let answer, body = {};
  try {
    answer = await fetch(`/api/${path}${query.size ? `?${query}` : ""}`, { method, headers,
      cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(20000) });
    body = await answer.json();
  } catch {
    if (!answer || answer.ok) throw failure("acrelay inspect does not answer: it has ended, or cannot be reached.");
  }
  if (answer.status === 401) throw failure("This address belongs to another run of acrelay inspect.", 401);
  if (!answer.ok) throw failure(body.error ?? `acrelay inspect answered ${answer.status}.`, answer.status);
  return body;
}

export const get = (path, parameters = {}) => request("GET", path, parameters);
export const post = (path, parameters) => request("POST", path, parameters);
