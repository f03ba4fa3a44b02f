package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every file and folder of the repository that a page names, in backquotes or as a link, exists.
func TestPagesNameWhatExists(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in docs: %v", err)
	}
	named := regexp.MustCompile("`([a-z_.-]+/[A-Za-z0-9_./-]+)`|\\]\\(([A-Za-z0-9_./-]+)\\)")
	top := regexp.MustCompile(`^(\.\./)?(\.ci|cmd|pipeline|shard|limiter|tenant|loadtest|deploy|docs)/`)
	found := 0
	for _, page := range append(pages, "../README.md", "../ARCHITECTURE.md", "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			path := filepath.Join("..", match[1]) // in backquotes: from the top
			if match[1] == "" {
				path = filepath.Join(filepath.Dir(page), match[2])
			} else if !top.MatchString(match[1]) {
				continue // not a path of this repository
			}
			found++
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s names %s, which is not there", page, strings.Trim(match[0], "`"))
			}
		}
	}
	if found < 30 {
		t.Errorf("%d paths found in the pages, want at least 30: has their form changed?", found)
	}
}
