package console

import (
	"net/http"

	"arrakis/pipeline/http/live"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/view"
)

// streamsPage shows the streams and their consumers, and where they differ from the settings.
func (c *console) streamsPage() page {
	return page{
		path: "/streams", name: "streams", nav: "/streams",
		view: func(*http.Request) (content, error) { return content{title: "Streams"}, nil },
	}
}

// allStreams are the streams of the fleet, with all differences in one list.
type allStreams struct {
	Streams     []view.Stream
	Differences []streams.Change
}

func streamsOf(s *live.Snapshot) any {
	v := allStreams{Streams: s.Fleet.Streams}
	for i := range v.Streams {
		v.Differences = append(v.Differences, v.Streams[i].Differs...)
	}
	return v
}
