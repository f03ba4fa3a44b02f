// Does a spike to ten times the load fail requests, reach the neighbours, or outlast itself?
//
// Open model: requests come at their rate whatever the answers take.
// Enterprise communities, which have no limit, send the spike; the limited
// ones go on at the pace that their limits allow.
import exec from 'k6/execution';
import { checkTarget, enterprise, limited, neighbours, profile, sendInTurn, summary, withDefaults } from './lib.js';

// Where the short profile runs, k6, the worker and others share two cores, which
// at times stand still for a second: it allows four times the latency.
const p = profile({
  short: { rate: 20, before: 10, spike: 10, after: 8, slack: 4 },
  full: { rate: 100, before: 60, spike: 30, after: 120, slack: 1 },
});
const RATE = Number(__ENV.RATE || p.rate); // requests a second outside of the spike
const PEAK = 10 * RATE;
const TURN_S = 1; // to go up and to go down, in seconds

export const options = withDefaults({
  scenarios: {
    enterprise: {
      executor: 'ramping-arrival-rate',
      exec: 'flood',
      startRate: RATE,
      timeUnit: '1s',
      preAllocatedVUs: PEAK * p.slack, // enough while answers take less than slack seconds
      stages: [
        { target: RATE, duration: `${p.before}s` },
        { target: PEAK, duration: `${TURN_S}s` },
        { target: PEAK, duration: `${p.spike - 2 * TURN_S}s` },
        { target: RATE, duration: `${TURN_S}s` },
        { target: RATE, duration: `${p.after}s` },
      ],
    },
    neighbours: neighbours(`${p.before + p.spike + p.after}s`),
  },
  thresholds: {
    'http_req_duration{phase:before}': [`p(99)<${500 * p.slack}`],
    'http_req_duration{phase:spike}': [`p(99)<${1000 * p.slack}`],
    'http_req_duration{phase:after}': [`p(99)<${500 * p.slack}`],
    'http_req_duration{who:neighbour}': [`p(99)<${500 * p.slack}`],
    'admitted{phase:spike}': [`count>${Math.floor(PEAK * (p.spike - 2 * TURN_S) * 0.99)}`],
    failed: ['rate<0.01'],
    limited: ['rate==0'],
    dropped_iterations: ['count==0'],
  },
});

export const setup = checkTarget;
export const handleSummary = summary('spike');

export function flood() {
  sendInTurn(enterprise, { phase: phase() });
}

export function neighbour() {
  sendInTurn(limited);
}

function phase() {
  const seconds = (Date.now() - exec.scenario.startTime) / 1000;
  if (seconds < p.before) return 'before';
  return seconds < p.before + p.spike ? 'spike' : 'after';
}
