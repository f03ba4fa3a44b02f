// Package console has the tests of the console that drive it in a real browser: Debian's chromium, headless, against a
// real worker with a real nats-server and redis-server. They also make the pictures of the README and of docs:
//
//	go -C loadtest/console test -run TestPictures -pictures ../../docs/pictures
package console
