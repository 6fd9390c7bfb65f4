package telemetry_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/sharedcontext/sharedcontext/telemetry/v2"
)

// blocks returns the code blocks of docs/operations.md in a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		found = append(found, match[1])
	}
	if len(found) == 0 {
		t.Fatalf("docs/operations.md has no block of %s", language)
	}
	return found
}

// metricNames are the names that a collector describes, with those of the parts of its histogram, and the kinds of errors.
func metricNames(t *testing.T) (names, kinds map[string]bool) {
	t.Helper()
	collector := telemetry.NewCollector()
	descs := make(chan *prometheus.Desc, 100)
	collector.Describe(descs)
	close(descs)
	names, kinds = make(map[string]bool), make(map[string]bool)
	fqName := regexp.MustCompile(`fqName: "(\w+)"`)
	for desc := range descs {
		name := fqName.FindStringSubmatch(desc.String())[1]
		names[name] = true
		if strings.HasSuffix(name, "_seconds") {
			names[name+"_bucket"], names[name+"_count"], names[name+"_sum"] = true, true, true
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			kinds[label(metric, "kind")] = true
		}
	}
	return names, kinds
}

var (
	metricName = regexp.MustCompile(`\bsharedcontext_\w+`)
	kindValue  = regexp.MustCompile(`kind[=!]~?"([^"]*)"`)
)

// wantKnown fails if an expression asks for what no collector gives.
func wantKnown(t *testing.T, expression string) {
	t.Helper()
	names, kinds := metricNames(t)
	for _, name := range metricName.FindAllString(expression, -1) {
		if !names[name] {
			t.Errorf("there is no metric %s: %s", name, expression)
		}
	}
	for _, match := range kindValue.FindAllStringSubmatch(expression, -1) {
		for kind := range strings.SplitSeq(match[1], "|") {
			if !kinds[kind] {
				t.Errorf("there is no kind %s: %s", kind, expression)
			}
		}
	}
	if strings.Count(expression, "(") != strings.Count(expression, ")") {
		t.Errorf("a parenthesis stands alone: %s", expression)
	}
}

// The alerts of docs/operations.md are rules that Prometheus can load, about metrics that there are.
func TestAlertsOfTheGuide(t *testing.T) {
	t.Parallel()
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert       string
				Expr        string
				For         string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(blocks(t, "yaml")[0])) // the first are the alerts
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	if len(rules.Groups) != 1 || rules.Groups[0].Name == "" || len(rules.Groups[0].Rules) < 5 {
		t.Fatalf("got %+v", rules)
	}
	duration := regexp.MustCompile(`^[0-9]+[smh]$`)
	for _, rule := range rules.Groups[0].Rules {
		if rule.Alert == "" || !metricName.MatchString(rule.Expr) || rule.Annotations["summary"] == "" ||
			rule.For != "" && !duration.MatchString(rule.For) || rule.Labels["severity"] != "page" && rule.Labels["severity"] != "ticket" {
			t.Errorf("incomplete: %+v", rule)
		}
		wantKnown(t, rule.Expr)
	}
}

func TestYAMLOfTheGuide(t *testing.T) {
	t.Parallel()
	for _, block := range blocks(t, "yaml") {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(block), &content); err != nil || len(content) == 0 {
			t.Errorf("%v, %v:\n%s", content, err, block)
		}
	}
}

// The queries for dashboards are about metrics that there are.
func TestQueriesOfTheGuide(t *testing.T) {
	t.Parallel()
	for _, block := range blocks(t, "promql") {
		for line := range strings.Lines(block) {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if !metricName.MatchString(line) {
				t.Errorf("no metric: %s", line)
			}
			wantKnown(t, line)
		}
	}
}

// The code of docs/operations.md is that of the example, which runs.
func TestCodeOfTheGuide(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks(t, "go") {
		if !strings.Contains(string(example), block) {
			t.Errorf("not in example_test.go:\n%s", block)
		}
	}
}
