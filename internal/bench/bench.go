// Package bench has agents call operations of a store at once, and measures how long these take.
package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// deleteTimeout bounds the removal of the session, which also happens after an interruption.
const deleteTimeout = time.Minute

// Options are the arguments of [Run].
type Options struct {
	Agents int     // how many call at once; required
	Mix    []Share // what they call; required
	// Operations ends the run after so many calls in all; 0 means that Duration ends it.
	Operations int64
	Duration   time.Duration
	Seed       uint64 // of the order of the operations
	Keep       bool   // leaves the session in the database
}

// Report says what a run measured. Its loop is closed: an agent calls again when its last call has returned.
type Report struct {
	Agents      int                        `json:"agents"`
	SessionID   string                     `json:"session_id"`
	Seconds     float64                    `json:"seconds"`
	PerSecond   float64                    `json:"operations_per_second"`
	All         latency.Summary            `json:"all_ms"`
	ByOperation map[string]latency.Summary `json:"by_operation_ms"`
	Errors      map[string]int64           `json:"errors"` // by operation and text
}

type agent struct {
	manager *store.Manager
	session string
	reader  store.Reader
	seen    store.MessageCursor
}

// Run measures one number of agents in a session of their own, which it deletes at the end. When ctx ends, calls under way
// are finished and the report says what was measured until then.
func Run(ctx context.Context, manager *store.Manager, options Options) (report Report, err error) {
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails, by its documentation
	name := "bench-" + hex.EncodeToString(random)
	calling := context.WithoutCancel(ctx)
	session, err := manager.CreateSession(calling, store.CreateSessionParams{Purpose: "sharedcontext bench", CreatedBy: name})
	if err != nil {
		return report, err
	}
	if !options.Keep {
		defer func() {
			deleting, cancel := context.WithTimeout(calling, deleteTimeout)
			defer cancel()
			err = errors.Join(err, manager.DeleteSession(deleting, session.ID, name))
		}()
	}
	report = Report{Agents: options.Agents, SessionID: session.ID, ByOperation: map[string]latency.Summary{}, Errors: map[string]int64{}}
	all, histograms := latency.New(), map[string]*latency.Histogram{}
	var order []string
	for _, share := range options.Mix {
		histograms[share.Operation] = latency.New()
		for range share.Weight {
			order = append(order, share.Operation)
		}
	}
	var (
		mu      sync.Mutex // of report.Errors
		tickets atomic.Int64
		group   sync.WaitGroup
	)
	start := time.Now()
	more := func() bool {
		if ctx.Err() != nil {
			return false
		}
		if options.Operations > 0 {
			return tickets.Add(1) <= options.Operations
		}
		return time.Since(start) < options.Duration
	}
	for i := range options.Agents {
		a := &agent{manager: manager, session: session.ID, reader: store.Reader{AgentID: fmt.Sprintf("%s-%d", name, i), AgentType: "claude"}}
		chance := mathrand.New(mathrand.NewPCG(options.Seed, uint64(i)))
		group.Go(func() {
			for more() {
				operation := order[chance.IntN(len(order))]
				begin := time.Now()
				if err := operations[operation](calling, a); err != nil {
					mu.Lock()
					report.Errors[operation+": "+err.Error()]++
					mu.Unlock()
					continue
				}
				took := time.Since(begin)
				all.Record(took)
				histograms[operation].Record(took)
			}
		})
	}
	group.Wait()
	report.Seconds = time.Since(start).Seconds()
	report.All = all.Summary()
	report.PerSecond = float64(report.All.Calls) / report.Seconds
	for operation, h := range histograms {
		report.ByOperation[operation] = h.Summary()
	}
	return report, nil
}
