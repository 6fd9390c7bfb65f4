package latency

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	h := New()
	if got := h.Summary(); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
	for i := range 1000 { // 1 ms to 1 s
		h.Record(time.Duration(i+1) * time.Millisecond)
	}
	got := h.Summary()
	want := Summary{Calls: 1000, P50: 500, P95: 950, P99: 990, P999: 999, Max: 1000}
	within := cmp.Comparer(func(a, b float64) bool { return max(a, b)-min(a, b) <= want.Max/1000 })
	if diff := cmp.Diff(want, got, within); diff != "" {
		t.Errorf("of 1 to 1000 ms (-want +got):\n%s", diff)
	}
	h.Reset()
	if h.Count() != 0 || h.Summary() != (Summary{}) {
		t.Errorf("after Reset: %+v", h.Summary())
	}
	h.Record(24 * time.Hour) // beyond the scale
	if got := h.Summary(); got.Calls != 1 || got.Max < 599_000 || got.Max > 601_000 {
		t.Errorf("a day: %+v", got)
	}
}
