package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/bench/peer"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMeasureFillsEveryCell(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	ctx, manager := storetest.Open(t, config)
	var rounds []int
	results, err := measure(ctx, manager, config.URL, options{rounds: 2, connections: 2, progress: func(round int) { rounds = append(rounds, round) }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{0, 1}, rounds); diff != "" {
		t.Errorf("rounds (-want +got):\n%s", diff)
	}
	type name struct {
		operation, tool string
		way             peer.Way
	}
	cells := make(map[name]bool)
	for _, r := range results {
		cells[name{r.Operation, r.Tool, r.Way}] = true
		if r.Median <= 0 || r.Ratio <= 0 || (r.Allocations > 0) != (r.Tool != peer.SQLAlchemy) || r.Calls != 2*fewest {
			t.Errorf("a cell is not filled: %+v", r)
		}
		if r.Tool == "store" && r.Ratio != 1 {
			t.Errorf("%s: the store is %v times as slow as itself", r.Operation, r.Ratio)
		}
	}
	want := 8 * 13 // eight operations through the store and six tools in two ways
	if cells[name{"add message", peer.SQLAlchemy, peer.Own}] {
		want += 8
	}
	if len(cells) != want || len(results) != want {
		t.Errorf("%d cells in %d results, want %d", len(cells), len(results), want)
	}
}

func TestBlockEndsWhenItIsToldTo(t *testing.T) {
	t.Parallel()
	var numbers []int
	op := operation{call: func(_ context.Context, _ peer.Operations, n int) error { numbers = append(numbers, n); return nil }}
	b, err := runBlock(t.Context(), &op, peer.Peer{}, 7, func(calls int, _ time.Duration) bool { return calls < 4 })
	if err != nil || len(b.times) != 4 {
		t.Fatalf("%d calls, error %v", len(b.times), err)
	}
	if diff := cmp.Diff([]int{7, 8, 9, 10}, numbers); diff != "" {
		t.Errorf("numbers of the calls (-want +got):\n%s", diff)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{5}, 5}, {[]float64{9, 1, 2}, 2}, {[]float64{8, 1, 2, 4}, 3}} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	results := []result{
		{"add", "store", peer.Own, 100.4, 1, 27.2, 9},
		{"add", "pgx", peer.Statement, 98, 0.976, 22, 9},
		{"add", "pgx", peer.Own, 150, 1.5, 57, 9},
		{"get", "store", peer.Own, 50, 1, 30, 9},
		{"get", "pgx", peer.Statement, 49, 0.98, 26, 9},
		{"get", "pgx", peer.Own, 51, 1.02, 26, 9},
	}
	want := `A machine.

Each cell: median time, its ratio to the store's, allocations.

**The store's statement, sent through each tool**

| operation | store | pgx |
|---|---|---|
| add | 100 µs, 27 | 98 µs, 0.98 x, 22 |
| get | 50 µs, 30 | 49 µs, 0.98 x, 26 |

**Each tool in its own way**

| operation | store | pgx |
|---|---|---|
| add | 100 µs, 27 | 150 µs, 1.50 x, 57 |
| get | 50 µs, 30 | 51 µs, 1.02 x, 26 |
`
	var got strings.Builder
	if err := writeMarkdown(&got, "A machine.", results); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
