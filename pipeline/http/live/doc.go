// Package live sends what happens to those who look at it: the pages of the console, and GET /v1/stream.
//
// A [Hub] looks at the fleet for all of its subscribers together, once a second while there is one, and for a minute
// longer. Each look is a [Snapshot], which nobody may change. [Serve] writes server-sent events, as the HTML standard
// defines them, through a [Writer]:
//
//	snapshots, err := hub.Subscribe(r.Context()) // ErrFull: answer 503
//	…
//	live.Serve(w, r, func(ctx context.Context, w *live.Writer) error {
//		for s := range snapshots { // ends with the request, with its session, and at the shutdown
//			if err := w.Send(s.FleetEvent()); err != nil {
//				return err // the client is gone
//			}
//		}
//		return nil
//	})
//
// # Backpressure
//
// The hub never waits for a subscriber. One that has not taken the last snapshot finds the newest one instead. A client
// that takes nothing for 10 s loses its connection. There are [MaxSubscribers] at most.
//
// # Shutdown
//
// When [Hub.Run] ends, it closes the channels of all subscribers, and Subscribe returns [ErrClosed].
package live
