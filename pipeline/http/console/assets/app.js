// The start of every page. A page's own module, if it has one, has run before.

import { say } from "./api.js";
import { startForms } from "./forms.js";
import { startLive } from "./live.js";

// Where the navigation is wider than the screen, it shows where the reader is.
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
startForms();
startLive();
const message = sessionStorage.getItem("arrakis-message");
if (message) {
  sessionStorage.removeItem("arrakis-message");
  say(message);
}
