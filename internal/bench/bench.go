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

const (
	// deleteTimeout bounds the removal of the session, which also happens after an interruption.
	deleteTimeout = 5 * time.Minute
	// errorPause keeps agents from asking a server that is gone in a tight loop.
	errorPause = 10 * time.Millisecond
)

// Options are the arguments of [Run].
type Options struct {
	Agents int     // how many call at once; required
	Mix    []Share // what they call; required
	// Operations ends the run after so many calls in all; 0 means that Duration ends it.
	Operations int64
	Duration   time.Duration
	Warmup     time.Duration // calls before it are not counted
	Seed       uint64        // of the order of the operations
	Keep       bool          // leaves the session in the database
}

// Report says what a run measured. Its loop is closed: an agent calls again when its last call has returned.
type Report struct {
	Agents      int                        `json:"agents"`
	SessionID   string                     `json:"session_id"`
	Seconds     float64                    `json:"seconds"`
	PerSecond   float64                    `json:"operations_per_second"`
	All         latency.Summary            `json:"all_ms"`
	ByOperation map[string]latency.Summary `json:"by_operation_ms"`
	BySecond    []latency.Summary          `json:"by_second_ms"` // whole seconds, or the only one
	Errors      map[string]int64           `json:"errors"`       // by operation and text
}

type agent struct {
	manager *store.Manager
	session string
	reader  store.Reader
	seen    store.MessageCursor
	chance  *mathrand.Rand
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
	var order []string
	for _, share := range options.Mix {
		for range share.Weight {
			order = append(order, share.Operation)
		}
	}
	var (
		tickets atomic.Int64
		group   sync.WaitGroup
	)
	start := time.Now()
	measured := newRecorder(options.Mix, start.Add(options.Warmup))
	more := func() bool {
		if ctx.Err() != nil {
			return false
		}
		if options.Operations > 0 {
			return tickets.Add(1) <= options.Operations
		}
		return time.Since(start) < options.Warmup+options.Duration
	}
	for i := range options.Agents {
		a := &agent{
			manager: manager, session: session.ID, reader: store.Reader{AgentID: fmt.Sprintf("%s-%d", name, i), AgentType: "claude"},
			chance: mathrand.New(mathrand.NewPCG(options.Seed, uint64(i))),
		}
		group.Go(func() {
			for more() {
				operation := order[a.chance.IntN(len(order))]
				begin := time.Now()
				err := operations[operation](calling, a)
				measured.record(operation, begin, time.Now(), err)
				if err != nil {
					select {
					case <-time.After(errorPause):
					case <-ctx.Done():
					}
				}
			}
		})
	}
	group.Wait()
	report = measured.report(time.Now())
	report.Agents, report.SessionID = options.Agents, session.ID
	return report, nil
}
