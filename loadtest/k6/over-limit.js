// Are communities at ten times their limit admitted exactly the limit, and told rightly when to come back?
//
// Every limited community has one user, who sends bursts that race for the
// last permits and keeps every answer. A full run also does what the last 429
// says: it is silent until Retry-After has passed, and must then be admitted.
// The worker must not have counted these communities in the minute before.
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { Window } from './window.js';
import { WINDOW_MS, checkTarget, limited, profile, sendAsync, summary, withDefaults } from './lib.js';

// A flood is shorter than a window, so it is admitted the limit once.
const p = profile({ short: { floods: 1, seconds: 20 }, full: { floods: 3, seconds: 45 } });
const TIMES = 10; // the limit, in what a community sends
const BURST = 15; // commands in flight at once; more than the limit of a free community

const overAdmitted = new Counter('over_admitted');
const underAdmitted = new Counter('under_admitted');
const wrongRetryAfter = new Counter('retry_after_wrong');
const admittedAfterRetry = new Counter('retry_after_admitted');
const judged = new Counter('communities_judged');

export const options = withDefaults({
  scenarios: {
    communities: {
      executor: 'per-vu-iterations',
      vus: limited.length,
      iterations: 1,
      maxDuration: `${p.floods * WINDOW_MS / 1000 + 60}s`,
    },
  },
  batchPerHost: BURST, // idle connections that a user keeps
  thresholds: {
    over_admitted: ['count==0'],
    under_admitted: ['count==0'],
    retry_after_wrong: ['count==0'],
    ...(p.floods > 1 && { retry_after_admitted: [`count==${limited.length * (p.floods - 1)}`] }),
    communities_judged: [`count==${limited.length}`],
    ...Object.fromEntries(limited.map((c) => [`admitted{community:${c.id}}`, [`count==${c.limit * p.floods}`]])),
    failed: ['rate==0'], // a permit may be behind a failure: then nothing is exact
    limited: ['rate>0.5'], // else this was no flood
  },
});

export const setup = checkTarget;
export const handleSummary = summary('over-limit');

export default async function () {
  const index = exec.vu.idInTest - 1;
  const community = limited[index];
  const window = new Window(community.limit, WINDOW_MS);
  const burstMs = (BURST / (TIMES * community.limit)) * WINDOW_MS; // from one burst to the next
  sleep((burstMs * index) / limited.length / 1000); // not all at once
  for (let flood = 1; flood <= p.floods; flood++) {
    if (flood > 1) await comeBack(community, window);
    await floodOf(community, window, burstMs);
  }
  judge(community, window);
}

// floodOf sends bursts in time with the clock.
async function floodOf(community, window, burstMs) {
  const start = Date.now();
  for (let next = start; next < start + p.seconds * 1000; next += burstMs) {
    sleepUntil(next);
    await Promise.all(Array.from({ length: BURST }, () => sendFor(community, window)));
  }
}

// comeBack obeys the last rejection.
async function comeBack(community, window) {
  const last = window.rejections[window.rejections.length - 1];
  if (last === undefined) return; // nothing was rejected: the other thresholds say so
  sleepUntil(last.received + last.retryAfter * 1000);
  const answer = await sendFor(community, window);
  admittedAfterRetry.add(answer.ok ? 1 : 0);
}

async function sendFor(community, window) {
  const answer = await sendAsync(community);
  if (answer.ok) window.admissions.push(answer);
  if (answer.status === 429) window.rejections.push(answer);
  return answer;
}

// judge counts what was wrong, and says the first of each kind.
function judge(community, window) {
  const over = window.overAdmitted();
  const { under, retryAfter } = window.wrongRejections();
  overAdmitted.add(over.length);
  underAdmitted.add(under.length);
  wrongRetryAfter.add(retryAfter.length);
  judged.add(1);
  const say = (answer, what) => console.error(`${community.id}: ${what}; sent ${answer.sent}, received ${answer.received}`);
  for (const answer of over.slice(0, 1)) say(answer, 'admitted while the window was full');
  for (const { answer, counted } of under.slice(0, 1)) say(answer, `rejected with ${counted} of ${window.limit} counted`);
  for (const { answer, least, most } of retryAfter.slice(0, 1)) {
    say(answer, `Retry-After ${answer.retryAfter}, right was ${least} to ${most}`);
  }
}

function sleepUntil(ms) {
  sleep(Math.max(0, ms - Date.now()) / 1000);
}
