package console

import "net/http"

// streamsPage shows the streams and their consumers, and where they differ from the settings.
func (c *console) streamsPage() page {
	return page{
		path: "/streams", name: "streams", nav: "/streams",
		view: func(*http.Request) (content, error) { return content{title: "Streams"}, nil },
	}
}
