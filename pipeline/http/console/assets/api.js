// Requests to the API under /v1/, and how their problems are shown. IDs are strings everywhere: a number in JSON that
// may be above 2^53 does not survive JavaScript, so the API's answers are only read for what is text or small.

// Problem is an answer that is no success: RFC 9457, or an answer that did not come.
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || "The request failed.");
    this.status = status;
    this.title = document.title || "Failed";
    this.errors = document.errors || [];
    this.type = document.type || "";
  }
}

// request sends one request, with body as JSON if there is one, and returns the answer's document (undefined without
// one). It throws a Problem.
export async function request(method, path, { body, type = "application/json", ifMatch, ifNoneMatch, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = type;
  if (ifMatch) headers["If-Match"] = ifMatch;
  if (ifNoneMatch) headers["If-None-Match"] = ifNoneMatch;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, credentials: "same-origin" });
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw new Problem(0, { title: "No answer", detail: "arrakis does not answer. Look whether the process runs, and repeat it." });
  }
  const text = await answer.text();
  let document;
  try {
    document = text ? JSON.parse(text) : undefined;
  } catch {
    document = { title: `Status ${answer.status}`, detail: "The answer is no JSON; is there a proxy in between?" };
    if (answer.ok) throw new Problem(answer.status, document);
  }
  if (answer.ok) return document;
  if (answer.status === 401) document = { ...document, title: "Logged out", detail: "The session has ended. Log in again, then repeat it." };
  throw new Problem(answer.status, document || {});
}

// logInLink makes a link to the log-in, which leads back to this page.
export function logInLink() {
  const link = document.createElement("a");
  link.href = "/login?next=" + encodeURIComponent(location.pathname + location.search);
  link.textContent = "Log in";
  return link;
}

// showProblem shows a problem as an alert at the end of an element, and marks the fields at fault.
export function showProblem(element, problem) {
  clearProblem(element);
  const box = document.createElement("div");
  box.className = "problem notice bad";
  box.setAttribute("role", "alert");
  const title = document.createElement("strong");
  title.textContent = problem.title || "Failed";
  box.append(title, " ", problem.message);
  if (problem.status === 401) box.append(" ", logInLink());
  for (const { field } of problem.errors || []) {
    for (const input of element.querySelectorAll("[name]")) if (input.name === field) input.setAttribute("aria-invalid", "true");
  }
  element.append(box);
}

// clearProblem removes what showProblem has shown.
export function clearProblem(element) {
  element.querySelector(":scope > .problem")?.remove();
  for (const input of element.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

// say shows a short message for a few seconds, and tells it to screen readers.
export function say(text) {
  const box = document.getElementById("message");
  box.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { box.textContent = ""; }, 6000);
}

// sayNext is say on the page that is shown next.
export function sayNext(text) {
  sessionStorage.setItem("arrakis-message", text);
}

// ask asks before something that cannot be undone. The promise gives true or false.
export function ask(question, { detail = "", verb = "Continue", danger = true } = {}) {
  const dialog = document.getElementById("question");
  dialog.querySelector("h2").textContent = question;
  dialog.querySelector("p").textContent = detail;
  dialog.querySelector("p").hidden = !detail;
  const yes = dialog.querySelector("button[value=yes]");
  yes.textContent = verb;
  yes.classList.toggle("danger", danger);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
  });
}
