// The start of every page. A page's own module, if it has one, has run before.

import { say } from "./api.js";
import { startForms } from "./forms.js";
import { startLive } from "./live.js";

startForms();
startLive();
const message = sessionStorage.getItem("arrakis-message");
if (message) {
  sessionStorage.removeItem("arrakis-message");
  say(message);
}
