package store_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func BenchmarkTotals(b *testing.B) {
	bench := newSessionsBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error { _, err := m.Totals(ctx, admin); return err },
		func(pool *pgxpool.Pool, sql string) error {
			var totals store.Totals
			return pool.QueryRow(bench.ctx, sql).Scan(&totals.Sessions, &totals.ActiveSessions, &totals.Messages, &totals.LiveMemory)
		})
}

func BenchmarkListSessionActivity(b *testing.B) {
	bench := newSessionsBench(b)
	end := time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: admin})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, end, "", 101)
			if err != nil {
				return err
			}
			var (
				sessions      []store.SessionActivity
				lastMessageAt time.Time
			)
			s := store.SessionActivity{Session: store.Session{IsActive: true}}
			_, err = pgx.ForEachRow(rows, []any{
				&s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.CreatedBy, &s.Metadata, &s.MessageCount, &lastMessageAt, &s.UniqueAgents,
			}, func() error {
				s.LastMessageAt = nil
				if s.MessageCount > 0 {
					at := lastMessageAt
					s.LastMessageAt = &at
				}
				sessions = append(sessions, s)
				s.Metadata = nil
				return nil
			})
			return err
		})
}

func BenchmarkListAgentMemory(b *testing.B) {
	bench := newMemoryBench(b)
	if _, err := store.ExecuteUpdate(bench.ctx, `INSERT INTO agent_memory (agent_id, key, value)
		SELECT 'agent_' || n % 50, 'key_' || n, 'value ' || n FROM generate_series(1, 1000) AS n`); err != nil {
		b.Fatal(err)
	}
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: admin})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, int64(-math.MaxInt64), "", 101)
			if err != nil {
				return err
			}
			var (
				agents []store.AgentMemorySummary
				a      store.AgentMemorySummary
			)
			_, err = pgx.ForEachRow(rows, []any{
				&a.AgentID, &a.TotalEntries, &a.GlobalEntries, &a.SessionEntries, &a.ExpiringEntries, &a.FirstEntry, &a.LastUpdated,
			}, func() error {
				agents = append(agents, a)
				return nil
			})
			return err
		})
}
