package main

import (
	"fmt"
	"io"
	"time"
)

// progressEvery is how often a long run says how far it has come.
const progressEvery = 2 * time.Second

// progress returns a function that writes lines such as "compared 20000 of 1000000" while something takes long.
func progress(w io.Writer, verb string) func(done, all int) {
	next := time.Now().Add(progressEvery)
	return func(done, all int) {
		now := time.Now()
		if now.Before(next) {
			return
		}
		next = now.Add(progressEvery)
		if done < all {
			_, _ = fmt.Fprintf(w, "arrakis: %s %d of %d\n", verb, done, all)
			return
		}
		_, _ = fmt.Fprintf(w, "arrakis: %s %d\n", verb, done)
	}
}
