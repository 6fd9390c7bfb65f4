package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/bench/fixture"
	"github.com/sharedcontext/sharedcontext/v2/bench/peer"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// warmUp is beyond the number of calls after which PostgreSQL chooses between a custom and a generic plan.
	warmUp = 10
	// fewest calls make a block, however long they take.
	fewest = 3
	// vacuumEvery is the number of rounds after which the database is vacuumed.
	vacuumEvery = 10
)

// options say how long to measure.
type options struct {
	rounds      int
	block       time.Duration // of calls of one operation through one tool, in each round
	connections int           // of each tool
	progress    func(round int)
}

// result is one cell of the table.
type result struct {
	Operation string   `json:"operation"`
	Tool      string   `json:"tool"`
	Way       peer.Way `json:"way"`
	// Median is that of the rounds, of the median of each, in microseconds.
	Median float64 `json:"median_us"`
	// Ratio is that of the rounds, of the time to that of the store in the same round.
	Ratio float64 `json:"ratio_to_store"`
	// Allocations is 0 where the tool does not run in Go.
	Allocations float64 `json:"allocations"`
	Calls       int     `json:"calls"`
}

// measurement collects the rounds of one cell.
type measurement struct {
	times, ratios, allocations []float64
	calls                      int
}

// measure runs all operations through all peers, block by block in turn, so that what else happens on the machine, and
// what grows in the database, meets all of them alike. The first result of each operation is that of the store.
func measure(ctx context.Context, manager *store.Manager, url string, options options) ([]result, error) {
	f, err := fixture.Fill(ctx, manager)
	if err != nil {
		return nil, err
	}
	peers, err := peer.Open(ctx, url, options.connections)
	if err != nil {
		return nil, err
	}
	defer peer.CloseAll(peers)
	operations := operations(f)
	for i := range operations {
		for j := range peers {
			if _, err := runBlock(ctx, &operations[i], peers[j], 0, func(calls int, _ time.Duration) bool { return calls < warmUp }); err != nil {
				return nil, err
			}
		}
	}
	cells := make([][]measurement, len(operations))
	for i := range cells {
		cells[i] = make([]measurement, len(peers))
	}
	for round := range options.rounds {
		options.progress(round)
		for i := range operations {
			if err := measureRound(ctx, &operations[i], peers, cells[i], round, options.block); err != nil {
				return nil, err
			}
		}
		if round%vacuumEvery == vacuumEvery-1 {
			if _, err := store.ExecuteUpdate(store.NewContext(ctx, manager), "VACUUM (ANALYZE) messages, agent_memory, audit_log"); err != nil {
				return nil, err
			}
		}
	}
	var results []result
	for i := range operations {
		for j, p := range peers {
			cell := &cells[i][j]
			results = append(results, result{
				operations[i].name, p.Tool, p.Way, median(cell.times), median(cell.ratios), median(cell.allocations), cell.calls,
			})
		}
	}
	return results, nil
}

// measureRound measures one block of an operation through each peer, another one first in each round.
func measureRound(ctx context.Context, op *operation, peers []peer.Peer, cells []measurement, round int, block time.Duration) error {
	times := make([]float64, len(peers))
	for turn := range peers {
		j := (turn + round) % len(peers)
		runtime.GC() // what a tool has left behind is not the burden of the next
		b, err := runBlock(ctx, op, peers[j], cells[j].calls, func(calls int, elapsed time.Duration) bool {
			return calls < fewest || elapsed < block && (op.most == 0 || calls < op.most)
		})
		if err != nil {
			return err
		}
		times[j] = median(b.times)
		cells[j].calls += len(b.times)
		cells[j].times = append(cells[j].times, times[j])
		cells[j].allocations = append(cells[j].allocations, b.allocations)
	}
	for j := range peers {
		cells[j].ratios = append(cells[j].ratios, times[j]/times[0])
	}
	return nil
}

// block is a run of calls.
type block struct {
	times       []float64 // of each call, in microseconds
	allocations float64   // of one call, on average
}

// runBlock calls an operation as long as more says, numbering the calls from first on.
func runBlock(ctx context.Context, op *operation, p peer.Peer, first int, more func(calls int, elapsed time.Duration) bool) (block, error) {
	b := block{times: make([]float64, 0, 4096)}
	timed, isTimed := p.Operations.(peer.Timed)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for now := start; more(len(b.times), now.Sub(start)); {
		if err := op.call(ctx, p, first+len(b.times)); err != nil {
			return b, fmt.Errorf("%s with %s, %s: %w", op.name, p.Tool, p.Way, err)
		}
		end := time.Now()
		took := end.Sub(now)
		if isTimed {
			took = timed.Elapsed()
		}
		b.times = append(b.times, float64(took.Nanoseconds())/1000)
		now = end
	}
	runtime.ReadMemStats(&after)
	if isTimed { // its allocations are not here either
		return b, nil
	}
	b.allocations = float64(after.Mallocs-before.Mallocs) / float64(len(b.times))
	return b, nil
}

// median returns the middle of values, the mean of the two in the middle where their number is even.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
