// Sign in, by the code that a one-time link holds behind its #, or by a key.

import { call } from "/static/api.js";

const form = document.getElementById("form");
const key = document.getElementById("key");
const help = document.getElementById("help");
const message = document.getElementById("message");

function say(text, isBad) {
  message.textContent = text;
  message.className = isBad ? "bad" : "calm";
  message.hidden = !text;
}

function show(isWaiting) {
  form.hidden = help.hidden = isWaiting;
  form.querySelector("button").disabled = isWaiting;
}

async function signIn(body) {
  show("code" in body);
  say("Signing in …", false);
  try {
    await call("POST", "/api/v1/session", body);
    location.replace("/");
  } catch (error) {
    show(false);
    say(`${error.message} ${error.hint}`.trim(), true);
    key.value = "";
    key.focus();
  }
}

function takeCode() {
  const code = location.hash.slice(1);
  if (!code) return key.focus();
  history.replaceState(null, "", location.pathname); // nobody reads it over a shoulder, and no bookmark keeps it
  return signIn({ code });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn({ key: key.value.trim() });
});
window.addEventListener("hashchange", takeCode); // a link that is pasted while this page is open
takeCode();
