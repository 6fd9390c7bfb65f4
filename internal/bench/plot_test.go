package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
)

// elements counts the elements of a page, which must be well-formed.
func elements(t *testing.T, page string) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	decoder := xml.NewDecoder(strings.NewReader(page))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return counts
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v\n%s", err, page)
		}
		if start, ok := token.(xml.StartElement); ok {
			counts[start.Name.Local]++
		}
	}
}

func TestPlot(t *testing.T) {
	t.Parallel()
	second := latency.Summary{Calls: 9, P50: 0.5, P95: 20, P99: 300}
	one := Report{Agents: 20, PerSecond: 1234, All: second, BySecond: []latency.Summary{second, {}, second}}
	for _, test := range []struct {
		name                   string
		reports                []Report
		charts, lines, circles int
	}{
		{"no run", nil, 0, 0, 0},
		{"one run", []Report{one}, 1, 3, 2 * 3}, // nothing in the second second
		{"two runs", []Report{one, one}, 2 + 2, 1 + 3 + 2*3, 2 + 2*3 + 2*2*3},
		{"a run without calls", []Report{{Agents: 1}}, 1, 3, 0},
	} {
		page := Plot(test.reports)
		got := elements(t, page)
		if diff := cmp.Diff([]int{test.charts, test.lines, test.circles}, []int{got["svg"], got["polyline"], got["circle"]}); diff != "" {
			t.Errorf("%s: charts, lines, points (-want +got):\n%s", test.name, diff)
		}
		if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
			t.Errorf("%s: a place is no number:\n%s", test.name, page)
		}
	}
}
