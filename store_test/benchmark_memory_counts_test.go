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

func BenchmarkListAllMemory(b *testing.B) {
	bench := newMemoryBench(b)
	end := time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC)
	var now *time.Time
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListAllMemory(ctx, store.ListAllMemoryParams{Reader: admin})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, end, int64(math.MaxInt64), now, 51)
			if err != nil {
				return err
			}
			var (
				entries []store.MemoryInfo
				entry   store.MemoryInfo
				id      int64
			)
			_, err = pgx.ForEachRow(rows, []any{
				&id, &entry.AgentID, &entry.SessionID, &entry.Key, &entry.Size, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt,
			}, func() error {
				entries = append(entries, entry)
				return nil
			})
			return err
		})
}

func BenchmarkCountMemory(b *testing.B) {
	bench := newMemoryBench(b)
	var now *time.Time
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.CountMemory(ctx, store.CountMemoryParams{Reader: admin})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			var counts store.MemoryCounts
			return pool.QueryRow(bench.ctx, sql, now).Scan(&counts.Total, &counts.Global, &counts.Session, &counts.Expiring, &counts.Agents)
		})
}
