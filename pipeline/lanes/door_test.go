package lanes

import (
	"context"
	"errors"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// doors is a Door, and where it sends messages of a community.
type doors struct {
	*testing.T
	*process
	*Door
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	w := newWorld(t)
	p := w.process()
	d := &doors{t, p, NewDoor(p.Registry, w.js)}
	d.wait = testserver.Patience
	return d
}

// enter waits for a passage, and returns it and where it leads.
func (d *doors) enter(key Key) (Passage, string) {
	d.Helper()
	p, err := d.Enter(d.Context(), key, 100)
	if err != nil {
		d.Fatal(err)
	}
	return p, p.Subject
}

// goes fails the test unless the next message of the community goes there, "" for its stream.
func (d *doors) goes(key Key, want string) {
	d.Helper()
	p, got := d.enter(key)
	if p.End(); got != want {
		d.Errorf("it goes to %q, want %q", got, want)
	}
}

// publish stores a message of the community in its stream.
func (d *doors) publish(community string) {
	d.Helper()
	if _, err := d.w.js.Publish(d.Context(), "commands.interaction."+community, []byte("{}")); err != nil {
		d.Fatal(err)
	}
}

func TestDoor(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	d.open("big", true)
	d.open("limited", false)
	if err := d.Open(t.Context(), Key{contract.KindEvent, "big"}, false); err != nil {
		t.Fatal(err)
	}
	const lane = "overflow.command.big.00"
	d.goes(command("big"), lane)
	d.goes(command("limited"), "")
	d.goes(command("other"), "")
	d.goes(Key{contract.KindEvent, "big"}, "") // is never direct
	p, _ := d.enter(command("big"))
	if l, _, _ := d.known(command("big")); l.onWay.Load() != 1 {
		t.Errorf("%d messages are on their way, want 1", l.onWay.Load())
	}
	p.End()
	if err := d.SetDirect(t.Context(), command("big"), false); err != nil {
		t.Fatal(err)
	}
	d.goes(command("big"), "")

	d.Sweep()
	if n := len(d.communities); n != 0 {
		t.Errorf("%d communities are remembered", n)
	}
}

// A community changes over to its lane only when nothing of it is on its way into its stream, or in its stream. Until
// then its publishers wait.
func TestDoorKeepsTheOrder(t *testing.T) {
	t.Parallel()
	const lane = "overflow.command.big.00"
	for _, test := range []struct {
		name string
		// before is on its way, or in the stream; the returned function says that it is not any more.
		before func(*doors) (gone func())
	}{
		{"on its way", func(d *doors) func() {
			p, _ := d.enter(command("big"))
			return p.End
		}},
		{"in its stream", func(d *doors) func() {
			d.publish("big")
			return func() {
				s, err := d.w.js.Stream(d.Context(), contract.StreamCommands)
				if err == nil {
					err = s.Purge(d.Context())
				}
				if err != nil {
					d.Error(err)
				}
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDoors(t)
			gone := test.before(d)
			d.publish("another") // does not matter
			d.open("big", true)
			entered := make(chan string, 2)
			for range cap(entered) {
				go func() {
					p, err := d.Enter(t.Context(), command("big"), 100)
					if err == nil {
						p.End()
					}
					entered <- p.Subject
				}()
			}
			testserver.Eventually(t, "they wait", func() bool {
				d.mu.Lock()
				defer d.mu.Unlock()
				w := d.communities[command("big")]
				return w != nil && w.changing != nil
			})
			gone()
			for range cap(entered) {
				if got := <-entered; got != lane {
					t.Errorf("it goes to %q, want %q", got, lane)
				}
			}
			d.goes(command("big"), lane)
		})
	}
}

// What does not come to its end is not waited for without end: messages go into the stream as before.
func TestDoorGivesUp(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	d.wait = 100 * time.Millisecond
	d.publish("big")
	d.open("big", true)
	d.goes(command("big"), "")
	d.mu.Lock()
	later := d.communities[command("big")].tries.again
	d.mu.Unlock()
	p, changing, _ := d.try(command("big"), later.Add(-1))
	if changing != nil {
		t.Error("the next one waits again")
	}
	p.End()
	d.Sweep() // keeps that in mind
	_, changing, begin := d.try(command("big"), later)
	if changing == nil || !begin {
		t.Error("it is not tried again")
	}
	d.change(t.Context(), command("big"), changing)
	d.mu.Lock()
	if pause := d.communities[command("big")].tries.pause; pause != 2*firstPause {
		t.Errorf("the next try is after %v", pause)
	}
	d.communities[command("big")].tries.again = time.Time{}
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Enter(ctx, command("big"), 100); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
