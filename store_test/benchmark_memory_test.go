package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// The benchmarks of memory run in a memory of 1000 entries for each of the two scopes.

func newMemoryBench(b *testing.B) bench {
	b.Helper()
	bench := newBench(b)
	for _, sessionID := range bench.scopes() {
		if _, err := store.ExecuteUpdate(bench.ctx, `INSERT INTO agent_memory (agent_id, session_id, key, value)
			SELECT 'alice', nullif(?, ''), 'key_' || n, 'value ' || n FROM generate_series(1, 1000) AS n`, sessionID); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := store.ExecuteUpdate(bench.ctx, "ANALYZE agent_memory"); err != nil {
		b.Fatal(err)
	}
	return bench
}

func BenchmarkSetMemory(b *testing.B) {
	const value = `{"step":3,"done":["read","plan"],"open":["write","test"]}`
	metadata := json.RawMessage(`{"source":"planner"}`)
	var now *time.Time
	b.Run("global", func(b *testing.B) {
		bench := newMemoryBench(b)
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "key_500", Value: value, Metadata: metadata, TTL: time.Hour})
				return err
			},
			func(pool *pgxpool.Pool, sql string) error {
				var id int64
				entry := store.MemoryEntry{AgentID: "alice", Key: "key_500", Value: value, Metadata: metadata}
				return pool.QueryRow(bench.ctx, sql, entry.AgentID, entry.Key, entry.Value, entry.Metadata, time.Hour.Microseconds(), now, true).
					Scan(&id, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt)
			})
	})
	b.Run("session", func(b *testing.B) {
		bench := newMemoryBench(b)
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				_, err := m.SetMemory(ctx, store.SetMemoryParams{
					AgentID: "alice", SessionID: bench.session.ID, Key: "key_500", Value: value, Metadata: metadata, TTL: time.Hour,
				})
				return err
			},
			func(pool *pgxpool.Pool, sql string) error {
				var (
					id    int64
					found bool
				)
				entry := store.MemoryEntry{AgentID: "alice", SessionID: bench.session.ID, Key: "key_500", Value: value, Metadata: metadata}
				return pool.QueryRow(bench.ctx, sql, entry.SessionID, entry.AgentID, entry.Key, entry.Value, entry.Metadata, time.Hour.Microseconds(),
					now, true).Scan(&id, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt, &found)
			})
	})
}

func BenchmarkGetMemory(b *testing.B) {
	var now *time.Time
	bench := newMemoryBench(b)
	for scope, sessionID := range bench.scopes() {
		b.Run(scope, func(b *testing.B) {
			bench.compare(b,
				func(ctx context.Context, m *store.Manager) error {
					_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "key_500"})
					return err
				},
				func(pool *pgxpool.Pool, sql string) error {
					args := []any{"alice", sessionID, "key_500", now}
					if sessionID == "" {
						args = []any{"alice", "key_500", now}
					}
					entry := store.MemoryEntry{AgentID: "alice", SessionID: sessionID, Key: "key_500"}
					return pool.QueryRow(bench.ctx, sql, args...).
						Scan(&entry.Value, &entry.Metadata, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt)
				})
		})
	}
}

func BenchmarkListMemory(b *testing.B) {
	var now *time.Time
	bench := newMemoryBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			page, err := m.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", Scope: store.MemoryScopeGlobal})
			if err == nil && len(page.Entries) != 50 {
				err = fmt.Errorf("%d entries", len(page.Entries))
			}
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, "alice", "", "", now, 51)
			if err != nil {
				return err
			}
			var (
				entries []store.MemoryInfo
				entry   = store.MemoryInfo{AgentID: "alice"}
			)
			_, err = pgx.ForEachRow(rows, []any{&entry.Key, &entry.Size, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt}, func() error {
				entries = append(entries, entry)
				return nil
			})
			if err == nil && len(entries) != 51 {
				err = errors.New("not a page")
			}
			return err
		})
}
