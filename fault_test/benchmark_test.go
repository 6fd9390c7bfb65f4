package fault_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// BenchmarkCancelledRequests reads a page of messages while others cancel 200 requests per second, each after 10 ms of a
// statement that takes long. It reports how many of the connections each cancelled request has cost, and how long a read
// has taken.
func BenchmarkCancelledRequests(b *testing.B) {
	var counted connects
	config := storetest.Config(b)
	config.Tracer = &counted
	ctx, m := storetest.Open(b, config)
	session, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "cancel", CreatedBy: "tester"})
	if err != nil {
		b.Fatal(err)
	}
	stop := make(chan struct{})
	var cancelling sync.WaitGroup
	cancelled, reads := latency.New(), latency.New()
	cancelling.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			cancelling.Go(func() {
				deadline := time.Now().Add(10 * time.Millisecond)
				bounded, cancel := context.WithDeadline(ctx, deadline)
				defer cancel()
				if _, err := store.ExecuteQuery(bounded, "SELECT pg_sleep(1)"); errors.Is(err, context.DeadlineExceeded) {
					cancelled.Record(time.Since(deadline))
				}
			})
		}
	})
	before := counted.made.Load()
	for b.Loop() {
		start := time.Now()
		if _, err := m.GetMessages(ctx, readAll(session.ID)); err != nil {
			b.Fatal(err)
		}
		reads.Record(time.Since(start))
	}
	close(stop)
	cancelling.Wait()
	late, read := cancelled.Summary(), reads.Summary()
	b.ReportMetric(float64(counted.made.Load()-before)/float64(late.Calls), "connections/cancelled")
	b.ReportMetric(late.P50, "late-p50-ms")
	b.ReportMetric(late.P99, "late-p99-ms")
	b.ReportMetric(read.P50, "read-p50-ms")
	b.ReportMetric(read.P99, "read-p99-ms")
}
