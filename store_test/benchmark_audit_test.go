package store_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype/zeronull"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// newAuditBench is a database with 2000 audit events of 20 agents, half of them in the session, beside those of newBench.
func newAuditBench(b *testing.B) bench {
	b.Helper()
	bench := newBench(b)
	if _, err := store.ExecuteUpdate(bench.ctx, `INSERT INTO audit_log (event_type, agent_id, session_id, resource, action, result, metadata)
		SELECT 'tool_' || n % 5, 'agent_' || n % 20, CASE WHEN n % 2 = 0 THEN ? END, 'file', 'write', 'ok', jsonb_build_object('number', n)
		FROM generate_series(1, 2000) AS n`, bench.session.ID); err != nil {
		b.Fatal(err)
	}
	if _, err := store.ExecuteUpdate(bench.ctx, "ANALYZE audit_log"); err != nil {
		b.Fatal(err)
	}
	return bench
}

func BenchmarkAppendAudit(b *testing.B) {
	bench := newAuditBench(b)
	metadata := json.RawMessage(`{"file":"lexer.go","lines":12}`)
	var now *time.Time
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.AppendAudit(ctx, store.AppendAuditParams{
				EventType: "file_written", AgentID: "alice", SessionID: bench.session.ID, Resource: "lexer.go", Action: "write", Result: "ok",
				Metadata: metadata,
			})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			event := store.AuditEvent{
				EventType: "file_written", AgentID: "alice", SessionID: bench.session.ID, Resource: "lexer.go", Action: "write", Result: "ok",
				Metadata: metadata,
			}
			return pool.QueryRow(bench.ctx, sql, event.EventType, event.AgentID, zeronull.Text(event.SessionID), zeronull.Text(event.Resource),
				zeronull.Text(event.Action), zeronull.Text(event.Result), event.Metadata, now).Scan(&event.ID, &event.Timestamp)
		})
}

func BenchmarkListAudit(b *testing.B) {
	bench := newAuditBench(b)
	from, end := time.Time{}, time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)
	list := func(name string, params store.ListAuditParams, args ...any) {
		params.Reader = admin
		b.Run(name, func(b *testing.B) {
			bench.compare(b,
				func(ctx context.Context, m *store.Manager) error { _, err := m.ListAudit(ctx, params); return err },
				func(pool *pgxpool.Pool, sql string) error {
					rows, err := pool.Query(bench.ctx, sql, args...)
					return collectAuditEvents(rows, err)
				})
		})
	}
	list("all", store.ListAuditParams{}, from, end, 0, 51)
	list("session", store.ListAuditParams{SessionID: bench.session.ID}, bench.session.ID, from, end, 0, "", "", 51)
	list("agent", store.ListAuditParams{AgentID: "agent_1"}, "agent_1", from, end, 0, "", 51)
	list("event type", store.ListAuditParams{EventType: "tool_1"}, "tool_1", from, end, 0, 51)
}

// collectAuditEvents reads rows of the audit log into a slice.
func collectAuditEvents(rows pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	var (
		events []store.AuditEvent
		e      store.AuditEvent
	)
	_, err = pgx.ForEachRow(rows, []any{
		&e.ID, &e.Timestamp, &e.EventType, &e.AgentID, (*zeronull.Text)(&e.SessionID), (*zeronull.Text)(&e.Resource), (*zeronull.Text)(&e.Action),
		(*zeronull.Text)(&e.Result), &e.Metadata,
	}, func() error {
		events = append(events, e)
		e.Metadata = nil
		return nil
	})
	return err
}

func BenchmarkSummarizeAudit(b *testing.B) {
	bench := newAuditBench(b)
	summarize := func(name, agentID string, args ...any) {
		b.Run(name, func(b *testing.B) {
			bench.compare(b,
				func(ctx context.Context, m *store.Manager) error {
					_, err := m.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: admin, AgentID: agentID})
					return err
				},
				func(pool *pgxpool.Pool, sql string) error {
					rows, err := pool.Query(bench.ctx, sql, args...)
					if err != nil {
						return err
					}
					var (
						activities []store.AuditActivity
						a          store.AuditActivity
					)
					_, err = pgx.ForEachRow(rows, []any{&a.AgentID, &a.EventType, &a.EventCount, &a.FirstEvent, &a.LastEvent}, func() error {
						activities = append(activities, a)
						return nil
					})
					return err
				})
		})
	}
	summarize("all", "", "", "", 51)
	summarize("agent", "agent_1", "agent_1", "", 51)
}
