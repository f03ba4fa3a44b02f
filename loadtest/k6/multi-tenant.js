// Do 100 communities that stay just under their limits get answers in time, and no refusals?
//
// 10 enterprise, 20 pro and 70 free communities; 10, then 50, then 100 virtual
// users against the real ingress. Users share no memory, so each limited
// community has one user who alone sends for it and so knows what is left of
// its limit. A user with nothing left, or with an enterprise community, sends
// for the enterprise communities in turn.
import exec from 'k6/execution';
import { sleep } from 'k6';
import { WINDOW_MS, checkTarget, communities, enterprise, profile, send, summary, withDefaults } from './lib.js';

const { ramp } = profile({ short: { ramp: '7s' }, full: { ramp: '60s' } }); // a quarter of the run
const THINK_S = 0.2;

export const options = withDefaults({
  scenarios: {
    users: {
      executor: 'ramping-vus',
      startVUs: 10,
      stages: [10, 50, 100, 100].map((target) => ({ target, duration: ramp })),
    },
  },
  thresholds: {
    http_req_duration: ['p(95)<500'],
    failed: ['rate<0.01'],
    // By tier too: enterprise sends most and would hide the others' refusals.
    limited: ['rate<0.05'],
    'limited{tier:pro}': ['rate<0.05'],
    'limited{tier:free}': ['rate<0.05'],
    'admitted{tier:enterprise}': ['count>0'],
    'admitted{tier:pro}': ['count>0'],
    'admitted{tier:free}': ['count>0'],
  },
});

export const setup = checkTarget;
export const handleSummary = summary('multi-tenant');

// Of this user: when answers of its own community came that may still count, in ms.
const counted = [];

export default function () {
  const own = communities[exec.vu.idInTest - 1];
  if (own.tier !== 'enterprise' && left(own) > 1) {
    counted.push(send(own).received);
  } else {
    send(enterprise[exec.scenario.iterationInTest % enterprise.length]);
  }
  sleep(THINK_S);
}

// left is how much of its limit the community surely has left: an admission
// was before its answer, so it leaves the window before the answer does.
function left(community) {
  while (counted.length > 0 && counted[0] <= Date.now() - WINDOW_MS) counted.shift();
  return community.limit - counted.length;
}
