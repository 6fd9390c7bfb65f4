package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// compareUsingUp is compare for operations that take away what they work on: supply makes it for all names at once while
// the clock stands.
func (bench bench) compareUsingUp(b *testing.B, supply string, call func(ctx context.Context, m *store.Manager, name string) error,
	byHand func(pool *pgxpool.Pool, sql, name string) error,
) {
	b.Helper()
	names := make([]string, 500)
	for i := range names {
		names[i] = fmt.Sprintf("session_%016x", i)
	}
	refill := func(b *testing.B) {
		b.Helper()
		if _, err := store.ExecuteUpdate(bench.ctx, supply, names); err != nil {
			b.Fatal(err)
		}
	}
	recorded := new(recorder)
	config := bench.config
	config.Tracer = recorded
	config.NotifyInterval = -1 // its statements come beside those to record
	ctx, traced := storetest.Open(b, config)
	refill(b)
	if err := call(ctx, traced, names[0]); err != nil {
		b.Fatal(err)
	}
	poolConfig, err := pgxpool.ParseConfig(bench.config.URL)
	if err != nil {
		b.Fatal(err)
	}
	poolConfig.MaxConns = int32(bench.Stats().MaxConnections)
	pool, err := pgxpool.NewWithConfig(bench.ctx, poolConfig)
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()

	run := func(name string, once func(name string) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var left []string
			for b.Loop() {
				if len(left) == 0 {
					b.StopTimer()
					refill(b)
					left = names
					b.StartTimer()
				}
				if err := once(left[0]); err != nil {
					b.Fatal(err)
				}
				left = left[1:]
			}
		})
	}
	run("store", func(name string) error { return call(bench.ctx, bench.Manager, name) })
	run("pgx", func(name string) error { return byHand(pool, recorded.sql, name) })
}

func BenchmarkDeleteMemory(b *testing.B) {
	const supply = `INSERT INTO agent_memory (agent_id, key, value) SELECT 'alice', name, 'value' FROM unnest(?::text[]) AS name
		ON CONFLICT DO NOTHING`
	var now *time.Time
	newMemoryBench(b).compareUsingUp(b, supply,
		func(ctx context.Context, m *store.Manager, name string) error {
			return m.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", Key: name})
		},
		func(pool *pgxpool.Pool, sql, name string) error {
			var expired bool
			return pool.QueryRow(b.Context(), sql, "alice", name, now).Scan(&expired)
		})
}

func BenchmarkDeactivateSession(b *testing.B) {
	const supply = `INSERT INTO sessions (id, purpose, created_by) SELECT name, 'benchmark', 'alice' FROM unnest(?::text[]) AS name
		ON CONFLICT (id) DO UPDATE SET is_active = true`
	newBench(b).compareUsingUp(b, supply,
		func(ctx context.Context, m *store.Manager, name string) error {
			return m.DeactivateSession(ctx, name, "alice")
		},
		func(pool *pgxpool.Pool, sql, name string) error {
			var wasActive bool
			return pool.QueryRow(b.Context(), sql, name, "alice").Scan(&wasActive)
		})
}

// Each session is deleted with twenty messages.
func BenchmarkDeleteSession(b *testing.B) {
	const supply = `WITH session AS (
			INSERT INTO sessions (id, purpose, created_by) SELECT name, 'benchmark', 'alice' FROM unnest(?::text[]) AS name
			ON CONFLICT DO NOTHING RETURNING id
		)
		INSERT INTO messages (session_id, sender, content) SELECT id, 'alice', 'as long as a short remark' FROM session, generate_series(1, 20)`
	newBench(b).compareUsingUp(b, supply,
		func(ctx context.Context, m *store.Manager, name string) error {
			return m.DeleteSession(ctx, name, "alice")
		},
		func(pool *pgxpool.Pool, sql, name string) error {
			var id string
			return pool.QueryRow(b.Context(), sql, name, "alice").Scan(&id)
		})
}
