package demo

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longestLatency is the end of the scale; what takes longer counts as this.
const longestLatency = 10 * time.Minute

// latencies records how long calls took, to three digits. All methods may be called by several goroutines.
type latencies struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // in microseconds
}

func newLatencies() *latencies {
	return &latencies{histogram: hdrhistogram.New(1, longestLatency.Microseconds(), 3)}
}

func (l *latencies) record(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.histogram.RecordValue(min(d, longestLatency).Microseconds()) // within the scale
}

func (l *latencies) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.histogram.TotalCount()
}

// Latency says how long calls of one kind took, in milliseconds.
type Latency struct {
	Calls int64   `json:"calls"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func (l *latencies) summary() Latency {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(quantile float64) float64 { return float64(l.histogram.ValueAtQuantile(quantile)) / 1000 }
	return Latency{
		Calls: l.histogram.TotalCount(), P50: at(50), P95: at(95), P99: at(99), Max: float64(l.histogram.Max()) / 1000,
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
