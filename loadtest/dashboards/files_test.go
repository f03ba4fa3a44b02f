package dashboards

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

const (
	deploy  = "../../deploy"
	runbook = "../../docs/alerts.md"
)

// rule is a recording rule or an alert.
type rule struct {
	Record      string
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// rulesOf reads a file of rules.
func rulesOf(t *testing.T, name string) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	decodeYAML(t, filepath.Join(deploy, "prometheus", name), &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no rules", name)
	}
	return all
}

// decodeYAML reads a file that has no other fields than v.
func decodeYAML(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// query is an expression of PromQL, and where it stands.
type query struct {
	where, expr string
	// labels are others that the results must have, such as those of a legend.
	labels []string
}

// grafana stands for what Grafana puts in place of its variables, when everything is chosen.
var grafana = strings.NewReplacer(
	"$__rate_interval", "5m", "$__range", "1h", "$job", ".*", "$tier", ".*", "$community", ".*",
)

// parse returns the expression as Prometheus reads it.
func (q *query) parse(t *testing.T) parser.Expr {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(q.expr)
	if err != nil {
		t.Fatalf("%s: %s: %v", q.where, q.expr, err)
	}
	return e
}

// ruleQueries are those of all rules and alerts.
func ruleQueries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, r := range append(rulesOf(t, "rules.yml"), rulesOf(t, "alerts.yml")...) {
		q := query{where: r.Record + r.Alert, expr: r.Expr}
		for _, text := range r.Annotations {
			for _, match := range named.FindAllStringSubmatch(text, -1) {
				q.labels = append(q.labels, match[1])
			}
		}
		all = append(all, q)
	}
	return all
}
