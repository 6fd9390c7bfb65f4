package bench

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
)

func TestRecorder(t *testing.T) {
	t.Parallel()
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r := newRecorder([]Share{{"add", 1}, {"page", 1}}, start)
	r.record("add", at(-1), at(5), nil) // of the warm-up
	r.record("add", at(0), at(10), nil)
	r.record("add", at(990), at(1010), nil)
	r.record("page", at(1500), at(1530), nil)
	r.record("page", at(1990), at(2030), nil) // a straggler
	r.record("page", at(-100), at(-50), errors.New("refused"))
	r.record("page", at(100), at(150), errors.New("refused"))
	got := r.report(at(2040))
	want := Report{
		Seconds: 2.04, PerSecond: 4 / 2.04, All: latency.Summary{Calls: 4, P50: 20, P95: 40, P99: 40, P999: 40, Max: 40},
		ByOperation: map[string]latency.Summary{
			"add":  {Calls: 2, P50: 10, P95: 20, P99: 20, P999: 20, Max: 20},
			"page": {Calls: 2, P50: 30, P95: 40, P99: 40, P999: 40, Max: 40},
		},
		BySecond: []latency.Summary{
			{Calls: 1, P50: 10, P95: 10, P99: 10, P999: 10, Max: 10},
			{Calls: 2, P50: 20, P95: 30, P99: 30, P999: 30, Max: 30},
		},
		Errors: map[string]int64{"page: refused": 2},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0.002, 0)); diff != "" { // the histogram has three digits
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// However many different errors there are, the report stays readable.
func TestRecorderErrors(t *testing.T) {
	t.Parallel()
	r := newRecorder([]Share{{"add", 1}}, time.Now())
	for i := range 100 {
		r.record("add", time.Now(), time.Now(), fmt.Errorf("error %d", i))
	}
	got := r.report(time.Now())
	if len(got.Errors) != keptErrors+1 || got.Errors["add: other errors"] != 100-keptErrors {
		t.Errorf("errors %v", got.Errors)
	}
}
