// Package console serves the pages with which people look at arrakis and steer it: the fleet of workers, tenants, what
// waits, dead letters, streams and changes. It is a handler of the ops address; package ops decides who may ask it, and
// refuses requests that may only look everything but GET and HEAD.
//
// Pages are rendered here, by html/template, and work without JavaScript, except that they do not move and change
// nothing. The chat of `arrakis dev --discord` is the exception: its page is a client of what Options.Chat serves. Everything that they need is in the binary, and the content security policy allows nothing else: no inline
// script or style, no request to another site. What others have named, such as communities and messages, is text
// wherever it is shown.
//
// # How to add a page
//
//  1. Write page_NAME.go with a function that returns a [page], and name it in allPages (pages.go). Its view function
//     reads what the page shows, by the same functions as the API and not by HTTP, and returns the content. An error of
//     it becomes a page: not found, bad request, or unavailable; see problemOf.
//  2. Write templates/NAME.html, which defines "main". It gets a *frame: .Data is what view returned, .May "tiers" says
//     whether the reader has that scope, and .Live "part" puts a live part in place. Text that others have
//     chosen goes through {{id .}} (an ID), {{visible .}} (any text) or payload (a body); its place in a path
//     through {{path "/tenants" .}}. funcs.go has the rest: num, rate, bytes, span, since, clock, use.
//  3. The classes of assets/app.css are few: .panel with header and .body or .scroll>table, .stats, .facts, .badge with
//     .ok/.warn/.bad, meter, .notice, .empty, .toolbar, .pager, .fields and .field, .actions, .grid and .stack. A table
//     stands in a {{scroll "Label"}}…{{end_scroll}}, which can be scrolled by keyboard.
//
// # How something is changed
//
// A form with data-api="PATCH /v1/tenants/comm_1" is sent to the API as JSON by assets/forms.js, which says what else it
// can do: If-Match, a question before, a message and a page after. It shows problems in the form, and marks the fields
// at fault. Leave out what changes something unless .May says that the reader has the scope that the API's table of routes
// needs for it: the API refuses it anyway. A page that needs more has a module of its own (page.script), which uses request,
// ask, say and showProblem of assets/api.js.
//
// # How a part is live
//
// A part is a template "part-NAME" and a function in allParts (live.go). Most show a snapshot of the fleet: these are
// rendered once for all readers. Others are read for each reader, with parameters, such as one tenant's use: {{.Live
// "usage" "id" .Data.ID}}. The page renders the part at first, and then assets/live.js takes it from GET /live, which
// sends the HTML of all parts of a page by one stream, each when it has changed. Rows of a list have a data-key, so that
// focus and selection stay with what they are on. A part shows the same to every reader.
package console
