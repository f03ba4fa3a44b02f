package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every file and folder of the repository that a page names, in backquotes or as a link, exists, and so does every heading
// that it links to.
func TestPagesNameWhatExists(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in docs: %v", err)
	}
	named := regexp.MustCompile("`([a-z_.-]+/[A-Za-z0-9_./-]+)`|\\]\\(([A-Za-z0-9_./-]*)(#[^)]+)?\\)")
	top := regexp.MustCompile(`^(\.\./)?(\.ci|cmd|pipeline|shard|limiter|tenant|loadtest|deploy|docs)/`)
	found := 0
	for _, page := range append(pages, "../README.md", "../ARCHITECTURE.md", "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			path := filepath.Join("..", match[1]) // in backquotes: from the top
			switch {
			case match[1] == "" && match[2] == "":
				path = page
			case match[1] == "":
				path = filepath.Join(filepath.Dir(page), match[2])
			case !top.MatchString(match[1]):
				continue // not a path of this repository
			}
			found++
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s names %s, which is not there", page, strings.Trim(match[0], "`"))
			} else if match[3] != "" && !slices.Contains(anchors(t, path), match[3]) {
				t.Errorf("%s links to %s%s, and there is no such heading", page, match[2], match[3])
			}
		}
	}
	if found < 30 {
		t.Errorf("%d paths found in the pages, want at least 30: has their form changed?", found)
	}
}

// anchors are the links to the headings of a page, as GitHub makes them.
func anchors(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	dropped := regexp.MustCompile(`[^\w -]`)
	for _, heading := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, "#"+strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(heading[1]), ""), " ", "-"))
	}
	return all
}
