// What the scenarios share: the demo communities, one request and what its
// answer means, and the summary.
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

export const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:8080').replace(/\/$/, '');
export const OPS_URL = (__ENV.OPS_URL || 'http://127.0.0.1:8081').replace(/\/$/, '');
const PROFILE = __ENV.PROFILE || 'short';

// profile picks the settings of PROFILE, short or full.
export function profile(settings) {
  if (!(PROFILE in settings)) {
    throw new Error(`PROFILE=${PROFILE}: expected ${Object.keys(settings).join(' or ')}`);
  }
  return settings[PROFILE];
}

// The window of the action "command", and what each tier may send in it.
export const WINDOW_MS = 60_000;
const LIMITS = { enterprise: Infinity, pro: 100, free: 10 };

// communities are those of `arrakis dev`: 10 enterprise, 20 pro, 70 free.
export const communities = Array.from({ length: 100 }, (_, i) => {
  const tier = i < 10 ? 'enterprise' : i < 30 ? 'pro' : 'free';
  return { id: `comm_${String(i).padStart(3, '0')}`, tier, limit: LIMITS[tier] };
});
export const enterprise = communities.filter((c) => c.tier === 'enterprise');
export const limited = communities.filter((c) => c.tier !== 'enterprise');

// neighbours is a scenario in the open model in which every limited community
// sends 8 commands a minute, which the smallest limit of 10 allows. Its
// function is `neighbour`, with sendInTurn(limited) as its body.
export const neighbours = (duration) => ({
  executor: 'constant-arrival-rate',
  exec: 'neighbour',
  rate: limited.length * 8,
  timeUnit: '60s',
  duration,
  preAllocatedVUs: 40,
  maxVUs: 200,
  tags: { who: 'neighbour' },
});

// Counted from answers, and of nothing but what send and sendAsync sent.
const admitted = new Counter('admitted'); // 200 with the community's own outcome
const limitedRate = new Rate('limited'); // 429
const failed = new Rate('failed'); // anything else, no answer included
const answers = {
  200: new Counter('answers_200'),
  429: new Counter('answers_429'),
  '4xx': new Counter('answers_other_4xx'),
  '5xx': new Counter('answers_5xx'),
  other: new Counter('answers_other'),
  none: new Counter('answers_none'),
};

// withDefaults adds to a scenario's own options what all have. Its threshold
// makes a run without load fail, for k6 passes an empty metric.
export function withDefaults(own) {
  return {
    summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
    ...own,
    thresholds: { admitted: ['count>0'], ...own.thresholds },
  };
}

// request are the arguments of http.post and, after the method, http.asyncRequest.
function request(community, tags, { data = { command_name: 'ping' }, key } = {}) {
  const headers = { 'Content-Type': 'application/json' };
  if (__ENV.TOKEN) headers.Authorization = `Bearer ${__ENV.TOKEN}`;
  if (key) headers['Idempotency-Key'] = key;
  const body = JSON.stringify({ community_id: community.id, data });
  return [`${BASE_URL}/v1/commands`, body, { headers, tags: { tier: community.tier, ...tags } }];
}

// send sends one command and returns its answer, which it has counted.
export function send(community, tags) {
  const sent = Date.now();
  return count(community, http.post(...request(community, tags)), sent, tags);
}

// sendAsync is send that others can run beside.
export async function sendAsync(community) {
  const sent = Date.now();
  return count(community, await http.asyncRequest('POST', ...request(community)), sent);
}

// sendKeyed sends a command with data under an idempotency key, and returns its answer. What is answered again counts as
// an answer, but not as admitted.
export async function sendKeyed(community, key, data) {
  const response = await http.asyncRequest('POST', ...request(community, {}, { data, key }));
  const replayed = response.headers['Idempotent-Replayed'] === 'true';
  answers[statusClass(response.status)].add(1);
  admitted.add(response.status === 200 && !replayed ? 1 : 0, { tier: community.tier, community: community.id });
  return { status: response.status, body: response.body, retryAfter: response.headers['Retry-After'], replayed };
}

// sendInTurn sends for the next of the communities, over all users of the
// scenario: a constant rate is so the same rate for each.
export function sendInTurn(those, tags) {
  send(those[exec.scenario.iterationInTest % those.length], tags);
}

// count adds an answer to the metrics. The clock of the client was at sent
// before the request and at received after it, in ms; whatever the server
// decided, it decided in between.
function count(community, response, sent, tags) {
  const received = Date.now();
  const { status } = response;
  const ok = status === 200 && isOutcome(response, community);
  const tagged = { tier: community.tier, community: community.id, ...tags };
  answers[statusClass(status)].add(1);
  admitted.add(ok ? 1 : 0, tagged);
  limitedRate.add(status === 429, tagged);
  failed.add(!ok && status !== 429, tagged);
  return { status, ok, sent, received, retryAfter: response.headers['Retry-After'] };
}

// countAs adds an answer that is not an outcome to the metrics: as admitted,
// limited or failed, or as neither.
export function countAs(response, verdict) {
  answers[statusClass(response.status)].add(1);
  if (!verdict) return;
  admitted.add(verdict === 'admitted' ? 1 : 0);
  limitedRate.add(verdict === 'limited');
  failed.add(verdict === 'failed');
}

function isOutcome(response, community) {
  try {
    const outcome = response.json();
    return outcome.status === 'ok' && outcome.community_id === community.id;
  } catch (_) {
    return false; // not JSON
  }
}

function statusClass(status) {
  if (status === 0) return 'none';
  if (status === 200 || status === 429) return status;
  if (status >= 400 && status <= 499) return '4xx';
  return status >= 500 ? '5xx' : 'other';
}

// checkTarget aborts the run with the reason when the ingress does not answer
// a command of an unlimited community. To be called in setup.
export function checkTarget() {
  const response = http.post(...request(enterprise[0]));
  if (response.status !== 200 || !isOutcome(response, enterprise[0])) {
    const said = String(response.body || response.error).slice(0, 200);
    exec.test.abort(`${BASE_URL} answered ${response.status}: ${said}. Set BASE_URL and TOKEN. Is arrakis dev running?`);
  }
}

// residentBytes is the memory of the worker, from its metrics, or null when
// they cannot be read.
export function residentBytes() {
  const response = http.get(`${OPS_URL}/metrics`, { tags: { who: 'metrics' } });
  const found = /^process_resident_memory_bytes (\S+)$/m.exec(String(response.body));
  return found ? Number(found[1]) : null;
}

// handled is how many messages of a command have ended well, from the worker's metrics, or null when they cannot be read.
export function handled(command) {
  const response = http.get(`${OPS_URL}/metrics`, { tags: { who: 'metrics' } });
  if (response.status !== 200) return null;
  let sum = 0;
  for (const [, labels, value] of String(response.body).matchAll(/^arrakis_tenant_commands_total\{(.*)\} (\S+)$/gm)) {
    if (labels.includes(`command="${command}"`) && labels.includes('status="success"')) sum += Number(value);
  }
  return sum;
}

// summary makes the handleSummary of the scenario: a table for people, and
// JSON in the file that SUMMARY_JSON names. durations is the metric that the
// latencies are of.
export function summary(scenario, durations = 'http_req_duration') {
  return (data) => {
    const report = newReport(scenario, durations, data);
    const written = { stdout: table(report) };
    if (__ENV.SUMMARY_JSON) written[__ENV.SUMMARY_JSON] = `${JSON.stringify(report, null, 2)}\n`;
    return written;
  };
}

function newReport(scenario, durations, { metrics, state }) {
  const counted = (name) => (metrics[name] ? metrics[name].values.count : 0);
  const latency = metrics[durations] ? metrics[durations].values : {};
  const seconds = state.testRunDurationMs / 1000;
  const byStatus = {};
  for (const [status, counter] of Object.entries(answers)) byStatus[status] = counted(counter.name);
  const requests = Object.values(byStatus).reduce((sum, n) => sum + n, 0);
  const thresholds = thresholdsOf(metrics);
  return {
    scenario,
    profile: PROFILE,
    base_url: BASE_URL,
    passed: thresholds.every((t) => t.ok),
    seconds,
    requests,
    requests_per_second: requests / seconds,
    answers: byStatus,
    latency_ms: { p50: latency.med, p95: latency['p(95)'], p99: latency['p(99)'], max: latency.max },
    admitted: counted('admitted'),
    limited: metrics.limited ? metrics.limited.values.passes : 0,
    dropped_iterations: counted('dropped_iterations'),
    thresholds,
  };
}

function thresholdsOf(metrics) {
  const found = [];
  for (const [metric, { contains, type, values, thresholds }] of Object.entries(metrics)) {
    for (const [rule, { ok }] of Object.entries(thresholds || {})) {
      const stat = /^[a-z]+(\(\d+\))?/.exec(rule)[0];
      const unit = contains === 'time' ? 'ms' : type === 'rate' ? '%' : '';
      found.push({ metric, rule, ok, actual: values[stat], unit });
    }
  }
  return found.sort((a, b) => (a.metric < b.metric ? -1 : 1));
}

// table is a report in at most 100 columns.
function table(r) {
  const ms = (n) => (n === undefined ? '-' : `${n.toFixed(1)} ms`);
  const pairs = (o, format) => Object.entries(o).map(([k, v]) => `${k} ${format(v)}`).join('   ');
  const rows = [
    '',
    `${r.scenario}, ${r.profile} profile: ${r.passed ? 'passed' : 'FAILED'}`,
    `  target      ${r.base_url}`,
    `  requests    ${r.requests} in ${r.seconds.toFixed(0)} s, ${r.requests_per_second.toFixed(1)} a second`,
    `  answers     ${pairs(r.answers, String)}`,
    `  latency     ${pairs(r.latency_ms, ms)}`,
    `  admitted    ${r.admitted}`,
    `  limited     ${r.limited}`,
    `  dropped     ${r.dropped_iterations}${r.dropped_iterations > 0 ? ', so the run is void: this load did not happen' : ''}`,
    '',
    `        ${'threshold'.padEnd(40)} ${'rule'.padEnd(16)} actual`,
  ];
  for (const group of grouped(r.thresholds)) rows.push(`  ${group}`);
  return `${rows.join('\n')}\n\n`;
}

// grouped are the lines of thresholds; those of one rule for many communities
// are one line, with the first community that breaks it.
function grouped(thresholds) {
  const groups = new Map();
  for (const t of thresholds) {
    const name = t.metric.replace(/community:\w+/, 'community:*');
    const key = `${name} ${t.rule}`;
    if (!groups.has(key)) groups.set(key, { name, rule: t.rule, all: [] });
    groups.get(key).all.push(t);
  }
  return [...groups.values()].map(({ name, rule, all }) => {
    const broken = all.filter((t) => !t.ok);
    let actual = value(broken[0] || all[0]);
    if (all.length > 1) {
      actual = `${all.length - broken.length} of ${all.length} communities`;
      if (broken.length > 0) actual += `; ${/comm_\d+/.exec(broken[0].metric)[0]}: ${value(broken[0])}`;
    }
    return `${broken.length > 0 ? 'FAIL' : 'ok  '}  ${name.padEnd(40)} ${rule.padEnd(16)} ${actual}`;
  });
}

function value({ actual, unit }) {
  if (actual === undefined) return 'no samples';
  if (unit === '%') return `${(actual * 100).toFixed(2)} %`;
  return unit === 'ms' ? `${actual.toFixed(1)} ms` : String(Number(actual.toFixed(3)));
}
