// Who is signed in, his keys, and sign out.

import { all, call, session } from "/static/api.js";

const $ = (id) => document.getElementById(id);
const ROLES = {
  viewer: "You read what is the team’s: models, datasets, evaluations, endpoints and compute.",
  user: "You import, train, evaluate, score and run batches, and see jobs of your own.",
  operator: "You do all that work, deploy, and see and change everybody’s jobs.",
  admin: "You may do everything here: you manage users and keys too, and read the audit log.",
};
const SCOPES = {
  infer: "score",
  batch: "run batches",
  train: "train and evaluate",
  import: "import models",
  admin: "all that you may",
};
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Runs what a button does, shows what was refused, and goes to sign in where the session has ended. */
async function attempt(work) {
  $("message").hidden = true;
  try {
    await work();
  } catch (error) {
    if (error.status === 401) return location.replace("/login");
    if (error.code === "csrf-failed") return location.reload(); // somebody else signed in, in another tab
    $("message").textContent = `${error.message} ${error.hint ?? ""}`.trim();
    $("message").hidden = false;
    $("message").scrollIntoView({ block: "nearest" });
  }
}

function cell(text, className = "") {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = className;
  return made;
}

/** It asks once more before it does. */
function revokeButton(key, me) {
  const button = document.createElement("button");
  const ask = (isSure) => {
    button.textContent = isSure ? "Really revoke" : "Revoke";
    button.setAttribute("aria-label", `${button.textContent} ${key.name}`);
    button.className = isSure ? "quiet sure" : "quiet";
  };
  button.addEventListener("click", () =>
    button.classList.contains("sure") ? attempt(() => revoke(key, me)) : ask(true),
  );
  button.addEventListener("blur", () => ask(false));
  ask(false);
  return button;
}

function row(key, me) {
  const made = document.createElement("tr");
  const isOver = key.expires !== null && key.expires * 1000 < Date.now();
  const may = key.scopes.map((scope) => SCOPES[scope]).join(", ");
  const last = cell("", "last");
  last.append(revokeButton(key, me));
  const expires = key.expires === null ? "never" : isOver ? "expired" : day.format(key.expires * 1000);
  made.append(cell(key.name, "name"), cell(key.endpoints ? `${may} at ${key.endpoints.join(", ")}` : may));
  made.append(cell(day.format(key.created * 1000), "date start"), cell(expires, "date until"), last);
  if (isOver) made.className = "over";
  return made;
}

async function showKeys(me) {
  const keys = await all("/api/v1/keys");
  const mine = keys.filter((key) => key.owner === me.user && !key.slot && key.revoked === null).reverse();
  $("keys").tBodies[0].replaceChildren(...mine.map((key) => row(key, me)));
  $("keys").hidden = !mine.length;
  $("none").hidden = Boolean(mine.length);
}

async function revoke(key, me) {
  await call("DELETE", `/api/v1/keys/${encodeURIComponent(key.id)}`);
  await showKeys(me);
}

async function makeKey(me) {
  const scopes = [...$("scopes").querySelectorAll("input:checked")].map((box) => box.value);
  const days = $("days").value ? Number($("days").value) : null;
  const made = await call("POST", "/api/v1/keys", { name: $("key-name").value, scopes, days });
  $("new").reset();
  await showKeys(me);
  $("text").value = made.key;
  $("made").hidden = false;
  $("text").select();
}

function choice(scope, isChosen) {
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", value: scope, defaultChecked: isChosen });
  const label = document.createElement("label");
  label.append(box, SCOPES[scope]);
  return label;
}

async function start() {
  const me = await session();
  $("name").textContent = me.user;
  $("role").textContent = me.role;
  $("may").textContent = ROLES[me.role];
  $("until").textContent = `Signed in until ${moment.format(me.expires * 1000)}.`;
  const allowed = Object.keys(SCOPES).filter((scope) => scope === "admin" || me.permissions.includes(scope));
  $("scopes").replaceChildren(...allowed.map((scope, at) => choice(scope, at === 0)));
  $("new").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => makeKey(me));
  });
  await showKeys(me);
}

$("leave").addEventListener("click", () =>
  attempt(async () => {
    await call("DELETE", "/api/v1/session");
    location.replace("/login");
  }),
);
$("link").addEventListener("click", () =>
  attempt(async () => {
    $("url").value = (await call("POST", "/api/v1/session/links", {})).url;
    $("linked").hidden = false;
    $("url").select();
  }),
);
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    $(button.dataset.copies).select();
    try {
      await navigator.clipboard.writeText($(button.dataset.copies).value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl+C"; // plain HTTP from another machine: it is selected
    }
  });
}
attempt(start);
