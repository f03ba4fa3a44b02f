package contract

import (
	"strconv"
	"strings"
	"time"
)

// The streams.
const (
	StreamCommands    = "COMMANDS"
	StreamEvents      = "EVENTS"
	StreamEligibility = "ELIGIBILITY"
	StreamAnswers     = "ANSWERS"
	StreamRetry       = "RETRY"
	StreamOverflow    = "OVERFLOW"
	StreamInternal    = "INTERNAL"
	StreamDeadLetter  = "DEADLETTER"
)

// Durable consumers, shared by every process.
const (
	ConsumerCommand     = "command-worker"
	ConsumerEvent       = "event-worker"
	ConsumerEligibility = "eligibility-worker"
	ConsumerSync        = "sync-worker"
	ConsumerAnswer      = "answer-worker"
	ConsumerRetry       = "retry-worker"
	ConsumerParked      = "parked-worker"
)

// Headers of messages, of handler requests and of dead letters.
const (
	HeaderReplyTo = "Arrakis-Reply-To"
	// HeaderWait is for how long the sender waits for the outcome, in ms from the time at which JetStream stored the
	// message. It counts only beside a valid Arrakis-Reply-To, and without it [DefaultWait] does.
	HeaderWait      = "Arrakis-Wait"
	HeaderCommunity = "Arrakis-Community"
	HeaderTier      = "Arrakis-Tier"
	HeaderFeatures  = "Arrakis-Features"
	HeaderRequestID = "Arrakis-Request-Id"
	HeaderEventID   = "Arrakis-Event-Id"
	HeaderAttempt   = "Arrakis-Attempt"
	HeaderDeadline  = "Arrakis-Deadline"
	HeaderReason    = "Arrakis-Reason"
	HeaderError     = "Arrakis-Error"
	HeaderStream    = "Arrakis-Stream"
	HeaderSubject   = "Arrakis-Subject"
	HeaderSequence  = "Arrakis-Sequence"
	HeaderAttempts  = "Arrakis-Attempts"
	// HeaderTruncated is the original size of the body, in bytes, of a dead letter whose body was cut to fit.
	HeaderTruncated = "Arrakis-Truncated"
	// HeaderHeadersCut is how many headers a dead letter lacks, because they did not fit or NATS cannot carry their names.
	HeaderHeadersCut = "Arrakis-Headers-Cut"
	// HeaderReplay names the dead letter that a message was replayed from: its sequence and time. The message's event ID
	// may still hold a permit, so the limiter asks Redis.
	HeaderReplay = "Arrakis-Replay"
	// HeaderRun identifies a run that the ingress has begun of a request whose event ID it did not know, or not any more.
	// Such a message does not use a permit that its event ID already holds.
	HeaderRun = "Arrakis-Run"

	// HeaderTenantSince says that the community's config was written at that time, in Unix milliseconds of Redis's clock, or
	// later, so that the message is handled under that config also by a process that nobody has told yet.
	HeaderTenantSince = "Arrakis-Tenant-Since"

	// The headers of a carried message: one that arrakis itself has stored again. They are read from messages of
	// OVERFLOW and RETRY alone, together with HeaderStream, HeaderSequence, HeaderSubject and HeaderAttempt; on any other
	// stream they have no effect.
	//
	// HeaderFirstStored is when JetStream stored the message first, in Unix nanoseconds.
	HeaderFirstStored = "Arrakis-First-Stored"
	// HeaderAdmitted is the verdict under which the message was admitted: its limit, what remained, and when that limit
	// resets, in Unix milliseconds.
	HeaderAdmitted = "Arrakis-Admitted"
	// HeaderPermit is the ID of the permit that the message took, so that it can be given back if the message expires in its
	// lane.
	HeaderPermit = "Arrakis-Permit"
	// HeaderDelivered is how often the message was delivered before it was stored again, if more than once.
	HeaderDelivered = "Arrakis-Delivered"
	// HeaderDelayed names the permit that is reserved for a message over the limit of its community.
	HeaderDelayed = "Arrakis-Delayed"
	// HeaderShadowed is the action whose limit has refused a message that passed because its tenant was in shadow mode.
	HeaderShadowed = "Arrakis-Shadowed"

	// HeaderAnswer says in which form the sender of a message wants its answer: [AnswerDiscord], or as an outcome.
	HeaderAnswer = "Arrakis-Answer"
	// HeaderProgressTo is where a handler may send what it has to show before its answer, and what is to follow it. It is in
	// requests for interactions alone.
	HeaderProgressTo = "Arrakis-Progress-To"
	// HeaderFollowUp marks what a handler sends there as a message that follows its answer.
	HeaderFollowUp = "Arrakis-Follow-Up"

	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
	// HeaderServiceError and HeaderServiceErrorCode are the NATS micro convention for a handler's error.
	HeaderServiceError     = "Nats-Service-Error"
	HeaderServiceErrorCode = "Nats-Service-Error-Code"
)

// ReplyPrefix is the prefix of the subjects that outcomes may be published to. Any other reply-to is ignored, so that a
// message cannot make a worker publish to an arbitrary subject.
const ReplyPrefix = "_INBOX."

// DefaultWait is for how long a sender waits that does not say so.
const DefaultWait = 10 * time.Second

// Reason says why a message became a dead letter.
type Reason string

// The reasons of the contract.
const (
	ReasonMalformed         Reason = "malformed"
	ReasonNoCommunity       Reason = "no_community"
	ReasonAttemptsExhausted Reason = "attempts_exhausted"
	ReasonNoHandler         Reason = "no_handler"
	ReasonPanic             Reason = "panic"
	ReasonWorkerKilled      Reason = "worker_killed"
	// ReasonHandlerError is a handler's 4xx. Earlier versions made dead letters of these; none is written any more.
	ReasonHandlerError Reason = "handler_error"
)

// Reasons returns all reasons that a dead letter may have, in the order of the contract.
func Reasons() []Reason {
	return []Reason{
		ReasonMalformed, ReasonNoCommunity, ReasonAttemptsExhausted, ReasonNoHandler, ReasonPanic, ReasonWorkerKilled,
		ReasonHandlerError,
	}
}

// UnknownCommand is the command of an interaction that names no command, and the label of all commands that no handler
// knows.
const UnknownCommand = "unknown"

// ParkedFilter is the subject filter of the consumer of parked messages in OVERFLOW. It overlaps with that of no lane.
const ParkedFilter = "overflow.parked.*.*.*"

// ParkedSubject is the subject in OVERFLOW of a message whose dead letter cannot be stored, where RETRY cannot take it.
func ParkedSubject(stream string, sequence uint64, stored time.Time) string {
	return "overflow.parked." + stream + "." + strconv.FormatUint(sequence, 10) + "." + strconv.FormatInt(stored.UnixNano(), 10)
}

// RetryTarget is the subject of RETRY that a message of the given subject gets when its time has come.
func RetryTarget(subject string) string { return "again." + subject }

// DeadLetterSubject is the subject of a dead letter from stream. "*" stands for every stream or reason.
func DeadLetterSubject(stream string, r Reason) string {
	return "deadletter." + stream + "." + string(r)
}

// ValidSubject reports whether a message can be published to subject: non-empty tokens of visible ASCII, joined by
// dots, without a wildcard.
func ValidSubject(subject string) bool {
	last := byte('.')
	for i := range len(subject) {
		c := subject[i]
		if c <= ' ' || c > '~' || c == '*' || c == '>' || c == '.' && last == '.' {
			return false
		}
		last = c
	}
	return last != '.'
}

// ValidReplyTo reports whether outcomes may be published to subject: a valid subject of at most 256 bytes that begins
// with [ReplyPrefix].
func ValidReplyTo(subject string) bool {
	return len(subject) <= 256 && strings.HasPrefix(subject, ReplyPrefix) && ValidSubject(subject)
}

// Clip cuts a text that may quote a message to limit bytes on one line, for headers, errors and logs. An ellipsis marks
// the cut.
func Clip(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s), "\uFFFD")
}
