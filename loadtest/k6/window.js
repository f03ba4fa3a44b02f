// The sliding window as a client sees it: exact, though the client does not
// know when the server decided. An answer is { sent, received } in ms of the
// client's clock, and the server decided somewhere in between; so whatever
// holds for every moment in between is certain. The counts need no tolerance.

// A window admits at most `limit` in any (t - ms, t]. Answers are added in the
// order in which they were received.
export class Window {
  constructor(limit, ms) {
    this.limit = limit;
    this.ms = ms;
    this.admissions = []; // answers with 200
    this.rejections = []; // answers with 429, and their retryAfter
  }

  // overAdmitted are the admissions that certainly came while the window was full.
  overAdmitted() {
    const sorted = this.admissions.toSorted((a, b) => a.sent - b.sent);
    return sorted.filter((_, i) => {
      if (i < this.limit) return false;
      const together = sorted.slice(i - this.limit, i + 1); // one more than fit
      return Math.max(...together.map((a) => a.received)) - together[0].sent < this.ms;
    });
  }

  // wrongRejections are the rejections that certainly came while the window
  // had room, and those whose Retry-After is not the whole seconds, up, until
  // the oldest counted admission leaves it: { under, retryAfter }, lists of
  // { answer, counted, least, most }, with the range of right values in
  // seconds. A worker that does not ask Redis again may be late by one round
  // trip to it, which is within the slowest answer; it may not be early.
  wrongRejections() {
    const wrong = { under: [], retryAfter: [] };
    const slowest = Math.max(...[...this.admissions, ...this.rejections].map((a) => a.received - a.sent));
    for (const answer of this.rejections) {
      const found = this.explain(answer, slowest);
      if (found.counted < this.limit) {
        wrong.under.push(found);
      } else if (!/^[0-9]+$/.test(answer.retryAfter) || answer.retryAfter < found.least || answer.retryAfter > found.most) {
        wrong.retryAfter.push(found);
      }
    }
    return wrong;
  }

  // explain looks at the admissions that may have been in the window when the
  // answer was decided. Of n such, `limit` were counted, so the oldest of
  // those is at most the n-limit+1st of all.
  explain(answer, slowest) {
    const counted = this.admissions.filter((a) => a.sent <= answer.received && a.received > answer.sent - this.ms);
    if (counted.length < this.limit) return { answer, counted: counted.length };
    const earliest = Math.min(...counted.map((a) => a.sent));
    const latest = counted[counted.length - this.limit].received;
    const seconds = (ms) => Math.min(Math.max(1, Math.ceil(ms / 1000)), this.ms / 1000);
    return {
      answer,
      counted: counted.length,
      least: seconds(earliest + this.ms - answer.received),
      most: seconds(latest + slowest + this.ms - answer.sent),
    };
  }
}
