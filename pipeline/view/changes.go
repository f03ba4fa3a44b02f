package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/tenant/store"
)

const (
	maxChanges    = 20 // of one entry
	maxChangeText = 200
	maxNesting    = 32
)

// Changes says for people what a change has changed: a line for each member of the document, such as
// "tier: free → pro". It is not empty. Of many members it names the first 20 by name.
func (e *AuditEntry) Changes() []string {
	switch {
	case e.BeforeSize+e.AfterSize > 0:
		return []string{"the document is too large to compare here"}
	case e.Before == nil && e.After == nil:
		return []string{e.event()}
	case e.After == nil:
		return []string{"deleted"}
	}
	was, is := members(e.Before), members(e.After)
	lines := []string{}
	if e.Before == nil && e.stored() {
		lines = append(lines, "created")
	}
	names := maps.Clone(was)
	maps.Copy(names, is)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		line := difference(was[name], is[name])
		if line == "" || e.implied(name, is[name]) {
			continue
		}
		if name != "" { // it is, for what is no object
			line = name + ": " + line
		}
		lines = append(lines, clip(line, maxChangeText))
	}
	if more := len(lines) - maxChanges; more > 0 {
		lines = append(lines[:maxChanges], fmt.Sprintf("and %d more", more))
	}
	if len(lines) == 0 {
		return []string{"no change"}
	}
	return lines
}

// stored reports whether the entry is about a stored document.
func (e *AuditEntry) stored() bool {
	return e.Type == store.AuditTenant || e.Type == store.AuditAccount || e.Type == store.AuditFlag || e.Type == store.AuditTiers
}

// event describes an entry without a document.
func (e *AuditEntry) event() string {
	if e.Type == store.AuditReload && e.Target == "" {
		return "everything is read again"
	}
	if e.Type == store.AuditReload {
		return "is read again"
	}
	return "nothing"
}

// implied reports whether a member says only what the entry says too.
func (e *AuditEntry) implied(name string, is jsontext.Value) bool {
	switch name {
	case "createdAt", "updatedAt":
		return true
	case "id", "communityId":
		return text(is) == e.Target
	}
	return false
}

// members returns the members of an object, also of those inside it, by names such as rateLimits.commandsPerMinute.
func members(v jsontext.Value) map[string]jsontext.Value {
	found := make(map[string]jsontext.Value)
	collect(found, "", v, 0)
	return found
}

func collect(found map[string]jsontext.Value, name string, v jsontext.Value, depth int) {
	var object map[string]jsontext.Value
	if v.Kind() != '{' || depth == maxNesting || json.Unmarshal(v, &object) != nil {
		if len(v) > 0 {
			found[name] = v
		}
		return
	}
	for member, value := range object {
		full := member
		if name != "" {
			full = name + "." + member
		}
		collect(found, full, value, depth+1)
	}
}

// difference says how a member has changed, or "" if it has not. A missing value is nil.
func difference(was, is jsontext.Value) string {
	switch {
	case string(was) == string(is):
		return ""
	case was.Kind() == '[' || is.Kind() == '[':
		return listDifference(was, is)
	case was == nil:
		return text(is)
	case is == nil:
		return text(was) + " → not set"
	}
	return text(was) + " → " + text(is)
}

// listDifference names what was added to a list and what was removed.
func listDifference(was, is jsontext.Value) string {
	before, after := elements(was), elements(is)
	if was == nil {
		return strings.Join(after, ", ")
	}
	var parts []string
	for _, v := range after {
		if !slices.Contains(before, v) {
			parts = append(parts, "+"+v)
		}
	}
	for _, v := range before {
		if !slices.Contains(after, v) {
			parts = append(parts, "−"+v)
		}
	}
	if len(parts) == 0 && len(before) != len(after) {
		return fmt.Sprintf("%d → %d entries", len(before), len(after))
	}
	return strings.Join(parts, " ")
}

func elements(v jsontext.Value) []string {
	var list []jsontext.Value
	if v.Kind() != '[' || json.Unmarshal(v, &list) != nil {
		return nil
	}
	texts := make([]string, len(list))
	for i, element := range list {
		texts[i] = text(element)
	}
	return texts
}

// text is a value as people write it: a string without quotes.
func text(v jsontext.Value) string {
	if v.Kind() == '"' {
		if s, err := jsontext.AppendUnquote(nil, v); err == nil {
			return string(s)
		}
	}
	return string(v)
}

// clip cuts s to at most n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
