package dashboards

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// schema is the one that Grafana 10 and 11 import; the one that replaces it is that of later versions.
type schema = dashboard.Dashboard //nolint:staticcheck // see above

// load reads the dashboard with Grafana's own schema, and fails at what the schema does not have.
func load(t *testing.T) *schema {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile(filepath.Join(deploy, "grafana", "arrakis.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Strict decoding checks, but does not set all fields (v0.0.22). Its error is never nil, but a list, which may be empty.
	if err := new(schema).UnmarshalJSONStrict(text); err.Error() != "" {
		t.Fatal(err)
	}
	var d schema
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	return &d
}

// panels are those that show something, also of rows that are collapsed.
func panels(d *schema) (all []dashboard.Panel) {
	for _, p := range d.Panels {
		if p.Panel != nil {
			all = append(all, *p.Panel)
		} else {
			all = append(all, p.RowPanel.Panels...)
		}
	}
	return all
}

// dashboardQueries are those of the panels, the variables and the annotations.
func dashboardQueries(t *testing.T) (all []query) {
	t.Helper()
	d := load(t)
	for _, p := range panels(d) {
		for _, target := range p.Targets {
			q := target.(*prometheus.Dataquery) //nolint:forcetypeassert // TestDashboard holds it
			where := "panel " + *p.Title
			all = append(all, query{where: where, expr: grafana.Replace(q.Expr), labels: legend(*q.LegendFormat)})
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == dashboard.VariableTypeQuery {
			parts := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(*v.Definition)
			if parts == nil {
				t.Fatalf("variable %s: %s", v.Name, *v.Definition)
			}
			all = append(all, query{where: "variable " + v.Name, expr: grafana.Replace(parts[1]), labels: parts[2:]})
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != nil {
			all = append(all, query{where: "annotation " + a.Name, expr: grafana.Replace(*a.Expr), labels: legend(*a.TitleFormat)})
		}
	}
	return all
}

// legend returns the labels that a legend names.
func legend(format string) (labels []string) {
	for _, match := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(format, -1) {
		labels = append(labels, match[1])
	}
	return labels
}

// The dashboard is one of Grafana's schema. Each panel has a place of its own, a unit, a description, and queries that
// ask the data source that the user chooses.
func TestDashboard(t *testing.T) {
	d := load(t)
	// 39 is the version of Grafana 10.3 to 11.0. Later ones migrate it, and earlier ones of 10 take it as it is.
	if d.SchemaVersion != 39 || *d.Uid == "" || d.Id != nil {
		t.Errorf("schema %d, uid %q, id %v: want 39, one, and none", d.SchemaVersion, *d.Uid, d.Id)
	}
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	for _, name := range []string{"datasource", "job", "tier", "community"} {
		if !variables[name] {
			t.Errorf("no variable %s", name)
		}
	}
	ids := map[uint32]string{}
	taken := map[[2]uint32]string{}
	place := func(title string, id uint32, at dashboard.GridPos) {
		if ids[id] != "" {
			t.Errorf("%q has the id of %q", title, ids[id])
		}
		ids[id] = cmp.Or(title, "untitled")
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]uint32{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q is in the place of %q, or outside", title, other)
				}
				taken[[2]uint32{x, y}] = title
			}
		}
	}
	var rows []string
	for _, p := range d.Panels {
		if r := p.RowPanel; r != nil {
			rows = append(rows, *r.Title)
			place(*r.Title, r.Id, *r.GridPos)
		} else {
			place(*p.Panel.Title, *p.Panel.Id, *p.Panel.GridPos)
		}
	}
	if len(rows) < 4 || rows[0] != "Overview" {
		t.Errorf("the rows are %q", rows)
	}
	for _, p := range panels(d) {
		panel(t, &p)
	}
}

func panel(t *testing.T, p *dashboard.Panel) {
	t.Helper()
	title := *p.Title
	if c := p.FieldConfig; c == nil || c.Defaults.Unit == nil || *c.Defaults.Unit == "" || c.Defaults.Thresholds == nil {
		t.Errorf("%s: no unit, or no thresholds", title)
	}
	if p.Description == nil || len(*p.Description) < 6 || title == "" {
		t.Errorf("%s: no title, or no description", title)
	}
	if p.Datasource == nil || *p.Datasource.Uid != "${datasource}" || len(p.Targets) == 0 {
		t.Errorf("%s: want queries of ${datasource}", title)
	}
	for _, target := range p.Targets {
		q, ok := target.(*prometheus.Dataquery)
		if !ok || q.LegendFormat == nil || *q.Datasource.Uid != "${datasource}" {
			t.Errorf("%s: want queries of Prometheus with a legend, of ${datasource}", title)
		}
	}
}
