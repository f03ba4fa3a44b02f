// The page of one tenant: a flag is set for this community by its lists of exceptions.

import { Problem, clearProblem, request, sayNext, showProblem } from "./api.js";

async function setFlag(form) {
  const { flag, etag, community } = form.dataset;
  const rule = form.elements.rule.value;
  const button = form.querySelector("button");
  clearProblem(form);
  button.disabled = true;
  try {
    const document = await request("GET", flag);
    const lists = document.communities ??= {};
    for (const name of ["include", "exclude"]) {
      const others = (lists[name] ?? []).filter((id) => id !== community);
      lists[name] = name === rule ? [...others, community] : others;
    }
    await request("PUT", flag, { ifMatch: etag, body: document });
    sayNext("The flag is set. It is in force on every process within a second.");
    location.reload();
  } catch (err) {
    if (!(err instanceof Problem)) throw err;
    if (err.status === 412 || err.status === 404) err.message = "Somebody else has changed this flag meanwhile. Load the page again, look, and repeat it.";
    showProblem(form, err);
    button.disabled = false;
  }
}

document.addEventListener("submit", (event) => {
  if (!event.target.dataset.flag) return;
  event.preventDefault();
  setFlag(event.target);
});
