package bench

import (
	"sync"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
)

// keptErrors bounds how many different errors a report spells out.
const keptErrors = 20

// recorder takes what agents measure. Its methods may be called by several goroutines at once.
type recorder struct {
	begin time.Time // calls that begin earlier are not counted

	mu          sync.Mutex
	all         *latency.Histogram
	byOperation map[string]*latency.Histogram
	bySecond    []*latency.Histogram
	errors      map[string]int64
}

func newRecorder(mix []Share, begin time.Time) *recorder {
	r := &recorder{begin: begin, all: latency.New(), byOperation: make(map[string]*latency.Histogram), errors: make(map[string]int64)}
	for _, share := range mix {
		r.byOperation[share.Operation] = latency.New()
	}
	return r
}

// record takes a call. Errors count from the beginning, also those before the measurement begins.
func (r *recorder) record(operation string, begin, end time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		text := operation + ": " + err.Error()
		if _, known := r.errors[text]; !known && len(r.errors) >= keptErrors {
			text = operation + ": other errors"
		}
		r.errors[text]++
		return
	}
	if begin.Before(r.begin) {
		return
	}
	r.all.Record(end.Sub(begin))
	r.byOperation[operation].Record(end.Sub(begin))
	second := int(end.Sub(r.begin) / time.Second)
	for len(r.bySecond) <= second {
		r.bySecond = append(r.bySecond, latency.New())
	}
	r.bySecond[second].Record(end.Sub(begin))
}

func (r *recorder) report(end time.Time) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := Report{
		Seconds: max(0, end.Sub(r.begin)).Seconds(), All: r.all.Summary(), ByOperation: make(map[string]latency.Summary),
		BySecond: make([]latency.Summary, len(r.bySecond)), Errors: r.errors,
	}
	if report.Seconds > 0 {
		report.PerSecond = float64(report.All.Calls) / report.Seconds
	}
	for operation, histogram := range r.byOperation {
		report.ByOperation[operation] = histogram.Summary()
	}
	if whole := int(report.Seconds); whole > 0 && whole < len(report.BySecond) {
		report.BySecond = report.BySecond[:whole] // what ends later are the stragglers of the end
	}
	for second, histogram := range r.bySecond[:len(report.BySecond)] {
		report.BySecond[second] = histogram.Summary()
	}
	return report
}
