package store_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// newSessionsBench is a database with 60 sessions of 20 messages beside the session of newBench.
func newSessionsBench(b *testing.B) bench {
	b.Helper()
	bench := newBench(b)
	messages := make([]store.NewMessage, 20)
	for i := range messages {
		messages[i] = store.NewMessage{Sender: fmt.Sprintf("agent_%d", i%5), Content: "as long as a short remark"}
	}
	for range 60 {
		session := newSession(bench.ctx, b, bench.Manager)
		if _, err := bench.AddMessages(bench.ctx, session.ID, messages); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := store.ExecuteUpdate(bench.ctx, "ANALYZE sessions, messages"); err != nil {
		b.Fatal(err)
	}
	return bench
}

func BenchmarkCreateSession(b *testing.B) {
	bench := newBench(b)
	metadata := json.RawMessage(`{"project":"parser","participant_count":3}`)
	var now *time.Time
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "review the parser", CreatedBy: "alice", Metadata: metadata})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			var random [8]byte
			if _, err := rand.Read(random[:]); err != nil {
				return err
			}
			session := store.Session{
				ID: "session_" + hex.EncodeToString(random[:]), Purpose: "review the parser", CreatedBy: "alice", Metadata: metadata, IsActive: true,
			}
			return pool.QueryRow(bench.ctx, sql, session.ID, session.Purpose, session.CreatedBy, session.Metadata, now).Scan(&session.CreatedAt)
		})
}

func BenchmarkListActiveSessions(b *testing.B) {
	bench := newSessionsBench(b)
	end := time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, aliceSees, aliceSeesOwn, alice.AgentID, aliceSeesKin, alice.AgentType, end, "", 51, false)
			if err != nil {
				return err
			}
			var sessions []store.ActiveSession
			s := store.ActiveSession{Session: store.Session{IsActive: true}}
			_, err = pgx.ForEachRow(rows, []any{
				&s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.CreatedBy, &s.Metadata, &s.LastActivity, &s.MessageCount, &s.Participants, &s.MemoryCount,
			}, func() error {
				sessions = append(sessions, s)
				s.Metadata = nil
				return nil
			})
			return err
		})
}

func BenchmarkMergeSessionMetadata(b *testing.B) {
	bench := newBench(b)
	patch := json.RawMessage(`{"participant_count":3}`)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.MergeSessionMetadata(ctx, bench.session.ID, patch)
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			var merged json.RawMessage
			return pool.QueryRow(bench.ctx, sql, bench.session.ID, patch, store.MaxMetadataLength, store.MaxMetadataKeys).Scan(&merged)
		})
}
