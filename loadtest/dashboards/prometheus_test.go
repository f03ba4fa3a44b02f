package dashboards

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver"
)

// prom is a Prometheus that scrapes a worker each second as the job arrakis, and evaluates the rules of deploy/.
type prom struct {
	v1.API
	began time.Time
}

func startPrometheus(t *testing.T, worker string) *prom {
	t.Helper()
	path := testserver.Program(t, "prometheus")
	rules, err := filepath.Abs(filepath.Join(deploy, "prometheus"))
	if err != nil {
		t.Fatal(err)
	}
	dir, listen := t.TempDir(), freeAddr(t)
	config := fmt.Sprintf(`global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q, %q]
scrape_configs: [{job_name: arrakis, static_configs: [{targets: [%q]}]}]
`, filepath.Join(rules, "rules.yml"), filepath.Join(rules, "alerts.yml"), worker)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, nil, path, "--config.file="+file, "--storage.tsdb.path="+dir, "--web.listen-address="+listen, "--log.level=error")
	client, err := api.NewClient(api.Config{Address: "http://" + listen})
	if err != nil {
		t.Fatal(err)
	}
	p := &prom{v1.NewAPI(client), time.Now().Add(-time.Second)}
	testserver.Eventually(t, "Prometheus has scraped the worker", func() bool { return len(p.series(t, "arrakis_ready")) > 0 })
	return p
}

// series are those that have matched a selector since the test began. There is none while Prometheus does not answer.
func (p *prom) series(t *testing.T, selector string) []model.LabelSet {
	t.Helper()
	found, _, _, err := p.Series(t.Context(), []string{selector}, p.began, time.Now())
	if err != nil {
		return nil
	}
	return found
}

// missing says what a query names that does not exist: the series of its selectors, and the labels by which it chooses
// and groups them.
func (p *prom) missing(t *testing.T, q *query) (faults []string) {
	t.Helper()
	parser.Inspect(q.parse(t), func(node parser.Node, path []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		plain := parser.VectorSelector{Name: s.Name, LabelMatchers: s.LabelMatchers}
		found := p.series(t, plain.String())
		if len(found) == 0 {
			faults = append(faults, "no series "+plain.String())
			return nil
		}
		for _, name := range append(matched(s), grouping(path)...) {
			if !slices.ContainsFunc(found, func(l model.LabelSet) bool { return l[model.LabelName(name)] != "" }) {
				faults = append(faults, fmt.Sprintf("%s has no label %s", plain.String(), name))
			}
		}
		return nil
	})
	return faults
}

// matched are the labels by which a selector chooses.
func matched(s *parser.VectorSelector) (names []string) {
	for _, m := range s.LabelMatchers {
		if m.Name != model.MetricNameLabel {
			names = append(names, m.Name)
		}
	}
	return names
}

// grouping are the labels by which the series are grouped or joined on the way out of an expression.
func grouping(path []parser.Node) (names []string) {
	for _, node := range path {
		switch e := node.(type) {
		case *parser.AggregateExpr:
			names = append(names, e.Grouping...)
		case *parser.BinaryExpr:
			if e.VectorMatching != nil {
				names = append(names, e.VectorMatching.MatchingLabels...)
			}
		}
	}
	return names
}

// results are those of a query at any time since the test began.
func (p *prom) results(t *testing.T, expr parser.Expr) (model.Matrix, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testserver.Patience)
	defer cancel()
	value, _, _, err := p.QueryRange(ctx, expr.String(), v1.Range{Start: p.began, End: time.Now(), Step: time.Second})
	if err != nil {
		return nil, err
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("%s is a %s", expr, value.Type())
	}
	return matrix, nil
}

// watched is what an alert compares with its thresholds: the expression without comparisons and conditions.
func watched(e parser.Expr) parser.Expr {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return watched(e.Expr)
	case *parser.BinaryExpr:
		switch {
		case e.Op.IsComparisonOperator(), e.Op == parser.LAND, e.Op == parser.LUNLESS:
			return watched(e.LHS)
		case e.Op == parser.LOR:
			return &parser.BinaryExpr{Op: e.Op, LHS: watched(e.LHS), RHS: watched(e.RHS), VectorMatching: e.VectorMatching}
		}
	}
	return e
}

// start starts a program, and kills it when the test ends.
func start(t *testing.T, env []string, path string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), env...), t.Output(), t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Wait() }) // t's context has ended by then, and with it the program
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addrs, err := program.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

// label reports whether each result has the label.
func label(m model.Matrix, name string) bool {
	return !slices.ContainsFunc(m, func(s *model.SampleStream) bool { return s.Metric[model.LabelName(name)] == "" })
}

// lines joins what is wrong, each once.
func lines(faults []string) string {
	slices.Sort(faults)
	return strings.Join(slices.Compact(faults), "\n")
}

// ruleState is how the last evaluation of a rule went.
func ruleState(r any) (name string, health v1.RuleHealth, last string) {
	switch r := r.(type) {
	case v1.RecordingRule:
		return r.Name, r.Health, r.LastError
	case v1.AlertingRule:
		return r.Name, r.Health, r.LastError
	}
	return fmt.Sprintf("%T", r), v1.RuleHealthUnknown, ""
}
