package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/ledger"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// betweenFaults is how long all is well before the next fault.
	betweenFaults = 2 * time.Second
	// settleTime bounds how long the last answers and followers take when all is well again.
	settleTime = time.Minute
)

// result is what one round comes to.
type result struct {
	report      ledger.Report
	followed    int // messages that followers received
	other       int64
	faults      map[string]int
	goroutines  int
	heap        uint64
	connections int64
}

func (r *result) add(other result) {
	r.report.Acknowledged += other.report.Acknowledged
	r.report.Present += other.report.Present
	r.report.Duplicated += other.report.Duplicated
	r.report.Unknown += other.report.Unknown
	r.report.Arrived += other.report.Arrived
	r.report.Refused += other.report.Refused
	r.followed += other.followed
	r.other += other.other
	if r.faults == nil {
		r.faults = make(map[string]int)
	}
	for name, n := range other.faults {
		r.faults[name] += n
	}
}

func (r result) String() string {
	faults := make([]string, 0, len(r.faults))
	for _, name := range slices.Sorted(maps.Keys(r.faults)) {
		faults = append(faults, fmt.Sprintf("%d %s", r.faults[name], name))
	}
	text := fmt.Sprintf("%v; %d received by followers; %d other calls; %s", r.report, r.followed, r.other, strings.Join(faults, ", "))
	if r.goroutines > 0 {
		text += fmt.Sprintf("; %d goroutines, heap %.1f MB, %d connections", r.goroutines, float64(r.heap)/1e6, r.connections)
	}
	return text
}

// work is what agents do to one session in a round.
type work struct {
	session string
	entries ledger.Ledger
	other   atomic.Int64
	stop    chan struct{}

	problems struct {
		sync.Mutex
		errs []error
	}
}

// round lets agents work on a new session while faults happen, and compares what everybody knows of it at the end.
func round(ctx context.Context, c *cluster, ways map[string]*store.Manager, o options, random *rand.Rand) (result, error) {
	var session store.Session
	err := again(ctx, func() (err error) {
		session, err = ways["direct"].CreateSession(ctx, store.CreateSessionParams{Purpose: "soak", CreatedBy: "soak"})
		return err
	})
	if err != nil {
		return result{}, err
	}
	w := &work{session: session.ID, stop: make(chan struct{})}
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	var (
		workers, readers sync.WaitGroup
		followers        []*followed
	)
	for way, m := range ways {
		for i := range o.agents {
			workers.Go(func() { w.write(ctx, m, fmt.Sprintf("%s_%d", way, i), i%2 == 0) })
		}
		workers.Go(func() { w.read(ctx, m, way) })
		workers.Go(func() { w.cancel(ctx, m) })
		workers.Go(func() { w.remember(ctx, m, way) })
		for range 2 {
			f := &followed{contents: make(map[string]int)}
			followers = append(followers, f)
			readers.Go(func() { f.follow(following, m, session.ID) })
		}
	}
	faults := make(map[string]int)
	for end := time.Now().Add(o.round); time.Now().Before(end) && ctx.Err() == nil; <-time.After(betweenFaults) {
		name, err := c.fault(ctx, random)
		if err != nil {
			return result{}, err
		}
		faults[name]++
	}
	close(w.stop)
	workers.Wait()
	if len(w.problems.errs) > 0 {
		return result{}, errors.Join(w.problems.errs...)
	}

	settling, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var report ledger.Report
	err = again(settling, func() (err error) {
		report, err = w.entries.Check(settling, ways["direct"], session.ID)
		return err
	})
	if err != nil {
		return result{}, err
	}
	want := report.Present + report.Arrived
	r := result{report: report, faults: faults, other: w.other.Load()}
	for _, f := range followers {
		n, err := f.settle(settling, want)
		r.followed += n
		if err != nil {
			return result{}, err
		}
	}
	stopFollowing()
	readers.Wait()
	for _, f := range followers { // nothing has come since
		if _, err := f.settle(settling, want); err != nil {
			return result{}, err
		}
	}
	return r, r.sample(settling, ways["direct"])
}

// sample notes what the process holds when its agents rest.
func (r *result) sample(ctx context.Context, m *store.Manager) error {
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	r.goroutines, r.heap = runtime.NumGoroutine(), memory.HeapAlloc
	return again(ctx, func() error {
		rows, err := store.ExecuteQuery(store.NewContext(ctx, m), "SELECT count(*) AS n FROM pg_stat_activity WHERE datname IS NOT NULL")
		if err == nil {
			r.connections = rows[0]["n"].(int64)
		}
		return err
	})
}

// again repeats what only reads until it succeeds, fails for good, or ctx ends.
func again(ctx context.Context, call func() error) error {
	for {
		err := call()
		if err == nil || !store.IsRetryable(err) && !errors.Is(err, store.ErrOutcomeUnknown) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
