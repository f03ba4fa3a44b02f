// Does a request that is repeated under its idempotency key, at the same time and later, run once?
//
// Each user sends one request several times at the same moment, repeats those that are told that it still runs, and
// then sends it once more, and another body under its key. At the end the worker must have handled as many commands as
// there were keys.
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { checkTarget, enterprise, handled, profile, sendKeyed, summary, withDefaults } from './lib.js';

const p = profile({ short: { users: 20, keys: 25 }, full: { users: 50, keys: 200 } });
const TOTAL = p.users * p.keys;
const AT_ONCE = 5; // requests with the same key
const COMMAND = 'sleep'; // for long enough that they meet while it runs

const keys = new Counter('keys');
const ran = new Counter('answers_not_replayed');
const running = new Counter('answered_409_running');
const differs = new Counter('replay_differs');
const unexpected = new Counter('unexpected_answers');
const reused = new Counter('answered_422_reused');
const handledByWorker = new Counter('handled_by_worker');

export const options = withDefaults({
  scenarios: {
    users: { executor: 'per-vu-iterations', vus: p.users, iterations: p.keys, maxDuration: '10m' },
  },
  batchPerHost: AT_ONCE,
  thresholds: {
    keys: [`count==${TOTAL}`],
    answers_not_replayed: [`count==${TOTAL}`],
    handled_by_worker: [`count==${TOTAL}`],
    answered_422_reused: [`count==${TOTAL}`],
    answered_409_running: ['count>0'], // else no two requests met
    replay_differs: ['count==0'],
    unexpected_answers: ['count==0'],
  },
});

export function setup() {
  checkTarget();
  return { before: handled(COMMAND) };
}

export function teardown({ before }) {
  const after = handled(COMMAND);
  if (before !== null && after !== null) handledByWorker.add(after - before);
}

export const handleSummary = summary('repeat');

export default async function () {
  const n = exec.scenario.iterationInTest;
  const community = enterprise[n % enterprise.length];
  const key = `repeat-${exec.vu.idInTest}-${exec.vu.iterationInScenario}-${Date.now()}`;
  const request = { command_name: COMMAND, options: { ms: 20 } };
  const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => untilAnswered(community, key, request)));
  answers.push(await untilAnswered(community, key, request));
  keys.add(1);
  ran.add(answers.filter((a) => !a.replayed).length);
  differs.add(answers.filter((a) => a.body !== answers[0].body).length);
  for (const a of answers) if (a.status !== 200) wrong(key, a);
  const other = await sendKeyed(community, key, { command_name: COMMAND, options: { ms: 0 } });
  if (other.status === 422) reused.add(1);
  else wrong(key, other);
}

// untilAnswered repeats a request while it runs. It does not wait for as long as Retry-After says, so that requests meet.
async function untilAnswered(community, key, request) {
  for (;;) {
    const answer = await sendKeyed(community, key, request);
    if (answer.status !== 409) return answer;
    running.add(1);
    if (answer.retryAfter !== '2') wrong(key, answer);
    sleep(0.01);
  }
}

function wrong(key, answer) {
  unexpected.add(1);
  console.error(`${key}: ${answer.status}, Retry-After ${answer.retryAfter}: ${String(answer.body).slice(0, 200)}`);
}
