// Package latency records how long calls take, and says so in percentiles.
package latency

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the end of the scale; what takes longer counts as this.
const longest = 10 * time.Minute

// Histogram records how long calls took, to three digits. All methods may be called by several goroutines.
type Histogram struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // in microseconds
}

// New returns a histogram without calls.
func New() *Histogram {
	return &Histogram{histogram: hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// Record adds a call.
func (h *Histogram) Record(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.histogram.RecordValue(min(d, longest).Microseconds()) // within the scale
}

// Count returns how many calls were recorded.
func (h *Histogram) Count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.histogram.TotalCount()
}

// Reset forgets all calls.
func (h *Histogram) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.histogram.Reset()
}

// Summary says how long calls of one kind took, in milliseconds.
type Summary struct {
	Calls int64   `json:"calls"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

// Summary returns the percentiles; all are 0 when there were no calls.
func (h *Histogram) Summary() Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := func(quantile float64) float64 { return float64(h.histogram.ValueAtQuantile(quantile)) / 1000 }
	return Summary{
		Calls: h.histogram.TotalCount(), P50: at(50), P95: at(95), P99: at(99), P999: at(99.9),
		Max: float64(h.histogram.Max()) / 1000,
	}
}

// Milliseconds returns a duration in the unit of [Summary].
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
