package main

import (
	"cmp"
	"runtime/debug"
)

type versionCmd struct {
	outputFlags
}

// build describes how the binary was built.
type build struct {
	Version  string `json:"version"` // version of the module; "(devel)" for a build from a checkout without tags
	Go       string `json:"go"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"`    // time of the commit
	Modified bool   `json:"modified,omitzero"` // the checkout had changes
}

func buildInfo() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: "unknown"}
	}
	b := build{Version: cmp.Or(info.Main.Version, "(devel)"), Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (c *versionCmd) Run(p process) error {
	b := buildInfo()
	return c.print(p.stdout, b, func(t *table) {
		t.row("arrakis", b.Version)
		t.row("go", b.Go)
		if b.Commit != "" {
			modified := ""
			if b.Modified {
				modified = " with changes"
			}
			t.row("commit", b.Commit+modified)
			t.row("time", b.Time)
		}
	})
}
