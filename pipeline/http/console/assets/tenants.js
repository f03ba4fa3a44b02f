// Searches while somebody types: the page of the answer is loaded, and its results take the place of those that are shown.

import { morph } from "./morph.js";

const form = document.getElementById("search");
const pause = 150; // ms without a key
let timer, running;

async function search() {
  running?.abort();
  running = new AbortController();
  const address = "/tenants?" + new URLSearchParams(new FormData(form));
  try {
    const answer = await fetch(address, { signal: running.signal, headers: { Accept: "text/html" } });
    if (!answer.ok) return; // the button shows what is wrong
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const results = page.getElementById("results");
    if (!results) return;
    morph(document.getElementById("results"), results.innerHTML); // the number of matches stays one element, which is read out
    history.replaceState(null, "", address);
  } catch (err) {
    if (err.name !== "AbortError") throw err;
  }
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, pause);
});
