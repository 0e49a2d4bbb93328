// Calls of a page to its own server, in the name of whoever is signed in.

let csrfToken = "";

/** What the server refused: `message` says what happened, `hint` what to do next. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "";
    this.hint = problem.hint ?? "";
  }
}

export async function call(method, path, body) {
  const headers = csrfToken ? { "X-CSRF-Token": csrfToken } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: JSON.stringify(body), redirect: "error" });
  } catch {
    throw new Refused(0, { detail: "The server does not answer.", hint: "Try again in a moment." });
  }
  const data = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, data);
  return data;
}

/** Every item of a list, whatever it takes to get them. */
export async function all(path) {
  const items = [];
  let after = "";
  do {
    const page = await call("GET", after ? `${path}?after=${encodeURIComponent(after)}` : path);
    items.push(...page.items);
    after = page.next ?? "";
  } while (after);
  return items;
}

/** Who is signed in; from here on calls may change something. */
export async function session() {
  const found = await call("GET", "/api/v1/session");
  csrfToken = found.csrf_token;
  return found;
}
