//go:build ignore

// Command vulndb makes a database for govulncheck -db out of the reports in the module golang.org/x/vulndb, which comes
// from the Go module proxy like any other module. It is what vulndb's own command indexdb makes, without that command's
// dependencies.
//
//	go run .ci/vulndb.go <vulndb's directory data/osv> <directory to write to>
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// report is the part of an OSV report that the index holds.
type report struct {
	ID       string `json:"id"`
	Modified string `json:"modified"`
	Affected []struct {
		Package struct {
			Name string `json:"name"`
		} `json:"package"`
	} `json:"affected"`
}

// module is one element of the index of modules.
type module struct {
	Path  string          `json:"path"`
	Vulns []vulnerability `json:"vulns"`
}

type vulnerability struct {
	ID       string `json:"id"`
	Modified string `json:"modified"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go run .ci/vulndb.go <directory of OSV reports> <directory to write to>")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "GO-*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no reports in %s: %w", from, errors.Join(err, os.ErrNotExist))
	}
	for _, dir := range []string{"ID", "index"} {
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return err
		}
	}
	modified, byPath := "", make(map[string]*module)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		modified = max(modified, r.Modified)
		for _, a := range r.Affected {
			m := byPath[a.Package.Name]
			if m == nil {
				m = &module{Path: a.Package.Name}
				byPath[m.Path] = m
			}
			if v := (vulnerability{r.ID, r.Modified}); !slices.Contains(m.Vulns, v) {
				m.Vulns = append(m.Vulns, v)
			}
		}
		if err := os.WriteFile(filepath.Join(to, "ID", filepath.Base(file)), text, 0o644); err != nil {
			return err
		}
	}
	modules := make([]*module, 0, len(byPath))
	for _, m := range byPath {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b *module) int { return strings.Compare(a.Path, b.Path) })
	return errors.Join(
		write(filepath.Join(to, "index", "db.json"), map[string]string{"modified": modified}),
		write(filepath.Join(to, "index", "modules.json"), modules),
	)
}

func write(file string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}
