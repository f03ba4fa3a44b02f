// Does the worker stay fast, and its memory the same, under a constant load for long?
//
// Open model: requests come at their rate whatever the answers take.
// DURATION is in seconds, RATE in requests a second of the enterprise
// communities; the limited ones add the pace that their limits allow.
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter, Gauge } from 'k6/metrics';
import {
  OPS_URL, checkTarget, enterprise, limited, neighbours, profile, residentBytes, sendInTurn, summary, withDefaults,
} from './lib.js';

// In half a minute the heap is still finding its size, so the short profile
// only catches a gross leak. It allows four times the latency, as in spike.js.
const p = profile({
  short: { rate: 50, duration: 30, growth: 0.5, slack: 4 },
  full: { rate: 100, duration: 1800, growth: 0.2, slack: 1 },
});
const RATE = Number(__ENV.RATE || p.rate);
const DURATION = Number(__ENV.DURATION || p.duration);
const WARM_UP = Math.min(120, DURATION / 3); // seconds before memory is first read

const memoryGrowth = new Gauge('memory_growth'); // of the worker, as a share of what it had after the warm-up
const memoryReads = new Counter('memory_reads');

export const options = withDefaults({
  scenarios: {
    enterprise: {
      executor: 'constant-arrival-rate',
      exec: 'work',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: RATE * p.slack, // enough while answers take less than slack seconds
      maxVUs: RATE * p.slack * 2,
    },
    neighbours: neighbours(`${DURATION}s`),
    memory: { executor: 'per-vu-iterations', exec: 'memory', vus: 1, iterations: 1, maxDuration: `${DURATION + 30}s` },
  },
  thresholds: {
    http_req_duration: [`p(95)<${250 * p.slack}`, `p(99)<${500 * p.slack}`],
    failed: ['rate<0.01'],
    limited: ['rate==0'],
    dropped_iterations: ['count==0'],
    memory_growth: [`value<${p.growth}`],
    memory_reads: ['count==2'],
  },
});

export const handleSummary = summary('soak');

export function setup() {
  checkTarget();
  if (residentBytes() === null) {
    exec.test.abort(`${OPS_URL}/metrics has no process_resident_memory_bytes. Set OPS_URL; is arrakis dev running?`);
  }
}

export function work() {
  sendInTurn(enterprise);
}

export function neighbour() {
  sendInTurn(limited);
}

export function memory() {
  sleep(WARM_UP);
  const before = readMemory();
  sleep(DURATION - WARM_UP);
  memoryGrowth.add(readMemory() / before - 1);
}

function readMemory() {
  const bytes = residentBytes();
  if (bytes !== null) memoryReads.add(1);
  return bytes;
}
