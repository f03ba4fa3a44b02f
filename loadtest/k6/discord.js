// Are interactions of Discord verified, answered at once, and refused above the limit to their user alone?
//
// Signed commands of many guilds, each below its limit, at one rate; beside them what Discord asks an endpoint from time
// to time, PING and bad signatures; and one guild that sends three times what it may. Load and kills are another test's:
// `go run ./loadtest discord`.
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { judge, newID, parse, ping, post, slash } from './interaction.js';
import { BASE_URL, countAs, profile, summary, withDefaults } from './lib.js';

const { duration } = profile({ short: { duration: '7s' }, full: { duration: '60s' } });
const LIMIT = 10; // commands a minute of a guild of the free tier, which all guilds are
const FLOOD = 3 * LIMIT;
const COMMANDS = 'http_req_duration{who:commands}';

const pongs = new Counter('pongs');
const unauthorized = new Counter('bad_signatures_refused');
const wrong = new Counter('wrong_answers');
const answered = new Counter('flood_answered');
const refused = new Counter('flood_refused');

export const options = withDefaults({
  scenarios: {
    commands: { executor: 'constant-arrival-rate', exec: 'command', rate: 30, duration, preAllocatedVUs: 30, tags: { who: 'commands' } },
    probes: { executor: 'constant-arrival-rate', exec: 'probe', rate: 5, duration, preAllocatedVUs: 5, tags: { who: 'probes' } },
    flood: { executor: 'per-vu-iterations', exec: 'flood', vus: 1, iterations: 1, tags: { who: 'flood' } },
  },
  thresholds: {
    [COMMANDS]: ['p(99)<500', 'max<3000'],
    dropped_iterations: ['count==0'],
    failed: ['rate==0'],
    wrong_answers: ['count==0'],
    pongs: ['count>0'],
    bad_signatures_refused: ['count>0'],
    flood_answered: [`count==${LIMIT}`],
    flood_refused: [`count==${FLOOD - LIMIT}`],
  },
});

export function setup() {
  const response = post(ping());
  if (parse(response).type !== 1) {
    const said = String(response.body || response.error).slice(0, 200);
    exec.test.abort(`${BASE_URL} answered ${response.status}: ${said}. Set BASE_URL. Has arrakis dev the DISCORD_PUBLIC_KEY that the signer prints?`);
  }
  return { first: newID() }; // of the guilds: no run counts for another
}

export const handleSummary = summary('discord', COMMANDS);

// command sends a command of a guild that stays below its limit.
export function command({ first }) {
  const guild = String(BigInt(first) + BigInt(Math.floor(exec.scenario.iterationInTest / (LIMIT - 2))));
  const response = post(slash(guild, 'ping'));
  if (judge(response, 'pong') !== 'admitted') say('a command below the limit', response);
}

// Ways to sign badly: each must be answered 401.
const BAD = [
  { spoil: (s) => (s[0] === '0' ? '1' : '0') + s.slice(1) },
  { spoil: () => '0'.repeat(128) },
  { spoil: (s) => s.slice(0, 64) },
  { spoil: () => 'no hex' },
  { at: Date.now() - 3_600_000 }, // signed well, and long ago
];

// probe asks what Discord asks.
export function probe() {
  const pong = post(ping());
  const good = pong.status === 200 && parse(pong).type === 1;
  countAs(pong);
  if (good) pongs.add(1);
  else say('PING', pong);
  const bad = post(slash(newID(), 'ping'), BAD[exec.scenario.iterationInTest % BAD.length]);
  countAs(bad);
  if (bad.status === 401) unauthorized.add(1);
  else say('a bad signature', bad);
}

// flood sends three times what a guild may, one command after the other.
export function flood() {
  const guild = newID();
  for (let i = 0; i < FLOOD; i++) {
    const response = post(slash(guild, 'ping'));
    const verdict = judge(response, 'pong');
    if (verdict === 'admitted') answered.add(1);
    else if (verdict === 'limited') refused.add(1);
    else say('a command of the flood', response);
  }
}

function say(what, response) {
  wrong.add(1);
  console.error(`${what}: ${response.status} ${String(response.body || response.error).slice(0, 200)}`);
}
