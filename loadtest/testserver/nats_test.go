package testserver_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
)

// TestNATSStartsAgain: at its address, with its streams, and clients come back.
func TestNATSStartsAgain(t *testing.T) {
	t.Parallel()
	s := testserver.NATS(t)
	url := s.URL()
	nc := s.Connect(t, nats.MaxReconnects(-1), nats.ReconnectWait(1))
	js := testserver.JetStream(t, nc)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	testserver.Eventually(t, "the connection is lost", func() bool { return !nc.IsConnected() })
	s.Start()
	testserver.Eventually(t, "the client is back", nc.IsConnected)
	if s.URL() != url {
		t.Errorf("at %s, before at %s", s.URL(), url)
	}
	var stream jetstream.Stream
	testserver.Succeeds(t, "JetStream is back", func() (err error) {
		stream, err = js.Stream(t.Context(), "S")
		return err
	})
	if m, err := stream.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "kept" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestDisableJetStream: requests to JetStream get no answer and do no harm, also when the server has only just begun.
func TestDisableJetStream(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := testserver.NATS(t)
		s.DisableJetStream()
		nc := s.Connect(t)
		for range 50 {
			if err := nc.Publish("$JS.API.STREAM.NAMES", nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Error(err)
		}
		nc.Close()
		s.Stop()
	}
}
