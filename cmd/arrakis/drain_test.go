package main

import (
	"encoding/json"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/streams"
)

func TestDrainHelpGolden(t *testing.T) {
	t.Setenv("COLUMNS", "") // kong asks for the width
	for _, command := range []string{"drain", "drain rabbitmq"} {
		r := arrakis(t, nil, append(strings.Fields(command), "--help")...)
		if r.code != exitDone || r.stderr != "" {
			t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
		}
		testserver.Golden(t, "help/"+strings.ReplaceAll("arrakis "+command, " ", "_")+".txt", r.stdout)
	}
}

func TestDrainBadUsage(t *testing.T) {
	t.Parallel()
	const url = "--url=amqp://bot:hunter2@127.0.0.1:1"
	for _, tt := range []struct {
		args   string
		stderr string // a part of it
	}{
		{"", "RABBITMQ_URL (--url) is missing"},
		{"--queue=q --to=commands --url=amqp://bot:hunter2/x@rabbit", "expected a URL such as amqps://"},
		{"--queue=q --to=commands --url=redis://bot:hunter2@rabbit", "expected a URL such as amqps://"},
		{url + " --to=commands", "--queue is missing"},
		{url + " --queue=q", "--to is missing"},
		{url + " --queue=q --to=moon", `--to is "moon": expected commands, events or eligibility`},
		{url + " --queue=q --to=events --prefetch=1001", "--prefetch"},
		{url + " --queue=q --to=events --idle=1ms", "--idle"},
		{url + " --queue=q --to=events --exchange=x", "--queue and --exchange"},
		{url + " --exchange=x --to=events", "are for --reverse"},
		{url + " --queue=q --to=events --yes", "are for --reverse"},
		{url + " --queue=q --to=events --reverse --follow", "--reverse goes without --follow"},
		{url + " --queue=q --to=events --reverse --routing-key=k", "--routing-key is for --exchange"},
		{url + " --exchange=x --to=events --reverse --routing-key=" + strings.Repeat("k", 256), "--routing-key has 256 bytes: expected at most 255"},
		{url + " --queue=q --to=events --rabbitmq-tls-cert=x", "belong together"},
		{url + " --queue=q --to=events --reverse", "add --yes"},
	} {
		r := arrakis(t, nil, append([]string{"drain", "rabbitmq"}, strings.Fields(tt.args)...)...)
		if r.code != exitUsage || !strings.Contains(r.stderr, tt.stderr) || strings.Contains(r.stderr, "hunter2") || strings.Count(r.stderr, "--to") > 1 {
			t.Errorf("%s: exit code %d, %q, want %q", tt.args, r.code, r.stderr, tt.stderr)
		}
	}
}

// A queue is looked at, drained, and brought back, as a person does it and as a program.
func TestDrainRabbitMQ(t *testing.T) {
	t.Parallel()
	rabbit, servers := testserver.SharedRabbitMQ(t), testserver.NATS(t)
	js := testserver.JetStream(t, servers.Connect(t))
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, new(testserver.Output).Logger()); err != nil {
		t.Fatal(err)
	}
	ch := rabbit.Channel(t)
	queue, err := ch.QueueDeclare(t.Name(), true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ch.QueueDelete(queue.Name, false, false, false) }) // the server ends with the tests
	for _, body := range []string{`{"event_id":"e1","event_type":"x","guild_id":"comm_1"}`, "not JSON", `{"event_id":"e2","event_type":"x","guild_id":"comm_1"}`} {
		if err := ch.PublishWithContext(t.Context(), "", queue.Name, true, false, amqp.Publishing{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "the messages are in the queue", func() bool {
		q, err := ch.QueueDeclarePassive(queue.Name, true, false, false, false, nil)
		return err == nil && q.Messages == 3
	})
	env := environment{"RABBITMQ_URL": rabbit.URL(), "NATS_URL": servers.URL()}
	drain := func(args ...string) result {
		return arrakis(t, env, append([]string{"drain", "rabbitmq", "--queue=" + queue.Name, "--to=commands", "--idle=100ms"}, args...)...)
	}

	r := drain("--dry-run")
	for _, part := range []string{"commands.interaction.comm_1", "dead letter, malformed: expected a JSON object", "3 of 3 messages looked at, 1 would be dead letters"} {
		if !strings.Contains(r.stdout, part) {
			t.Errorf("it lacks %q:\n%s", part, r.stdout)
		}
	}
	if r.code != exitDone || r.stderr != "" {
		t.Errorf("exit code %d, %q", r.code, r.stderr)
	}

	var counts struct {
		Acked        int `json:"acknowledged"`
		Stored       int
		DeadLettered int `json:"dead_lettered"`
		Left         int
		Empty, Match bool
	}
	r = drain("--json")
	if err := json.Unmarshal([]byte(r.stdout), &counts); err != nil || r.code != exitDone {
		t.Fatalf("exit code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	if counts.Acked != 3 || counts.Stored != 2 || counts.DeadLettered != 1 || !counts.Empty || !counts.Match {
		t.Errorf("%+v", counts)
	}

	if r = drain("--reverse"); r.code != exitUsage || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("without --yes: exit code %d, %q", r.code, r.stderr)
	}
	if r = drain("--reverse", "--yes"); r.code != exitDone || !strings.Contains(r.stdout, "2 confirmed, 0 returned") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	if r = drain("--limit=1"); r.code != exitDone || !strings.Contains(r.stdout, "1 acknowledged; 1 left") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	if r = drain(); r.code != exitDone || !strings.Contains(r.stdout, "the queue is empty, and both sides agree") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	env["RABBITMQ_URL"] = "amqp://bot:hunter2@127.0.0.1:1"
	if r = drain("--dry-run"); r.code != exitFailed || !strings.Contains(r.stderr, "is RABBITMQ_URL right?") || strings.Contains(r.stderr, "hunter2") {
		t.Errorf("exit code %d, %q", r.code, r.stderr)
	}
	env["RABBITMQ_URL"] = strings.Replace(rabbit.URL(), "guest@", "hunter2@", 1)
	if r = drain(); r.code != exitFailed || !strings.Contains(r.stderr, "check user, password and vhost") || strings.Contains(r.stderr, "hunter2") {
		t.Errorf("exit code %d, %q", r.code, r.stderr)
	}
}
