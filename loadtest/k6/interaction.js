// Interactions of Discord: their form, their signature, and what an answer to
// one means. k6 has no Ed25519, so the program in signer signs.
import exec from 'k6/execution';
import http from 'k6/http';
import { BASE_URL, countAs } from './lib.js';

const SIGNER_URL = __ENV.SIGNER_URL;

const EPOCH = 1_420_070_400_000n; // of Discord's time, in Unix ms
const EPHEMERAL = 64;
const APPLICATION = '1000000000000000001';
const CHANNEL = '1000000000000000002';
const USER = '1000000000000000003';

// ping is what Discord asks an endpoint whether it is there.
export const ping = () => ({ id: newID(), application_id: APPLICATION, type: 1, token: 't', version: 1 });

// slash is a slash command in a guild.
export function slash(guild, name) {
  const id = newID();
  return {
    id,
    application_id: APPLICATION,
    type: 2,
    token: `token-of-${id}`,
    version: 1,
    guild_id: guild,
    channel_id: CHANNEL,
    locale: 'en-US',
    guild_locale: 'en-US',
    app_permissions: '562949953601536',
    entitlements: [],
    context: 0,
    member: { user: { id: USER, username: 'alia' }, roles: [], permissions: '2147483647' },
    data: { id: '1000000000000000004', name, type: 1 },
  };
}

// newID is a snowflake of now. Two of the same millisecond differ by chance.
export function newID() {
  const low = Math.floor(Math.random() * 2 ** 22);
  return String(((BigInt(Date.now()) - EPOCH) << 22n) | BigInt(low));
}

// post sends an interaction as Discord does, signed at a time in ms. spoil
// changes the signature.
export function post(interaction, { at = Date.now(), spoil = (s) => s } = {}) {
  const body = JSON.stringify(interaction);
  const signed = http.post(`${SIGNER_URL}/?at=${Math.floor(at / 1000)}`, body, { tags: { who: 'signer' } });
  if (signed.status !== 204) {
    exec.test.abort(`SIGNER_URL=${SIGNER_URL} answered ${signed.status}: set it to what loadtest/k6/signer prints`);
  }
  const headers = {
    'Content-Type': 'application/json',
    'X-Signature-Ed25519': spoil(signed.headers['X-Signature-Ed25519']),
    'X-Signature-Timestamp': signed.headers['X-Signature-Timestamp'],
  };
  return http.post(`${BASE_URL}/discord/interactions`, body, { headers });
}

// judge counts the answer to a command, and says what it is: admitted (a
// message for all, that contains text), limited (a message for the user
// alone, which says when to try again), or failed.
export function judge(response, text) {
  const answer = parse(response);
  const { content = '', flags = 0 } = answer.data || {};
  let verdict = 'failed';
  if (response.status === 200 && answer.type === 4) {
    if ((flags & EPHEMERAL) === 0 && content.includes(text)) verdict = 'admitted';
    if ((flags & EPHEMERAL) !== 0 && /<t:\d+:R>/.test(content)) verdict = 'limited';
  }
  countAs(response, verdict);
  return verdict;
}

// parse is the answer's JSON, {} if it is none.
export function parse(response) {
  try {
    return response.json() || {};
  } catch (_) {
    return {};
  }
}
