package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Each operation as the owner of the tables, whom row-level security does not concern, and as a service, for whom the
// policies are added, in turn on the same database.
func BenchmarkAccess(b *testing.B) {
	bench, service := newServiceBench(b)
	message := store.NewMessage{Sender: "agent_1", SenderType: "claude", Content: "The lexer splits the statement in one pass and allocates nothing."}
	keyed := store.NewMessage{Sender: "agent_1", Content: "once", IdempotencyKey: "key"}
	page := store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, After: &store.MessageCursor{}, Limit: 50}
	for _, operation := range []struct {
		name string
		call func(context.Context, *store.Manager) error
	}{
		{"add message", func(ctx context.Context, m *store.Manager) error {
			_, err := m.AddMessage(ctx, bench.session.ID, message)
			return err
		}},
		{"add message again", func(ctx context.Context, m *store.Manager) error {
			_, err := m.AddMessage(ctx, bench.session.ID, keyed)
			return err
		}},
		{"get messages", func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetMessages(ctx, page)
			return err
		}},
		{"get session", func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetSession(ctx, bench.session.ID, alice)
			return err
		}},
		{"search", func(ctx context.Context, m *store.Manager) error {
			_, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: bench.session.ID, Reader: alice, Query: "short remark"})
			return err
		}},
		{"set memory", func(ctx context.Context, m *store.Manager) error {
			_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "plan", Value: "value"})
			return err
		}},
		{"get memory", func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", Key: "global"})
			return err
		}},
	} {
		b.Run(operation.name, func(b *testing.B) {
			inTurn(b, []way{
				{"owner", 1, func() error { return operation.call(bench.ctx, bench.Manager) }},
				{"service", 1, func() error { return operation.call(service.ctx, service.Manager) }},
			})
		})
	}
}

// way is one of several ways to do the same.
type way struct {
	name  string
	times int // that one call does it
	call  func() error
}

// inTurn calls the ways one after the other, so that whatever else the machine does slows each of them alike, and reports
// the median time of each in microseconds, and as a multiple of the first.
func inTurn(b *testing.B, ways []way) {
	b.Helper()
	took := make([][]float64, len(ways))
	for b.Loop() {
		for i, way := range ways {
			start := time.Now()
			if err := way.call(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], float64(time.Since(start).Nanoseconds())/1000/float64(way.times))
		}
	}
	b.ReportMetric(0, "ns/op") // of all ways together
	var first float64
	for i, way := range ways {
		slices.Sort(took[i])
		median := took[i][len(took[i])/2]
		b.ReportMetric(median, way.name+"-µs")
		if i == 0 {
			first = median
		} else {
			b.ReportMetric(median/first, way.name+"-ratio")
		}
	}
}

// A page of messages that a reader may see: by SQL of a service's own, which has to say by itself what the reader may see,
// without a transaction and in one; by GetMessages; and by the same SQL without that condition in the scope of the reader,
// one statement by itself, and one of 10 of a connection.
func BenchmarkAsReader(b *testing.B) {
	bench, service := newServiceBench(b)
	const (
		by        = " FROM messages WHERE session_id = $1"
		last      = " ORDER BY timestamp DESC, id DESC LIMIT 50"
		columns   = "SELECT id, timestamp, sender, content, metadata, sender_type, visibility, message_type, parent_message_id"
		condition = " AND (visibility = 'public' OR visibility IN ('private', 'agent_only') AND sender = 'alice' OR visibility = 'agent_only' AND sender_type = 'claude')"
	)
	scope := store.AsReader(service.ctx, alice)
	read := func(ctx context.Context, sql string) error {
		_, err := store.ExecuteQuery(ctx, sql, bench.session.ID)
		return err
	}
	inTurn(b, []way{
		{"raw", 1, func() error { return read(service.ctx, columns+by+condition+last) }},
		{"raw-in-tx", 1, func() error {
			return service.InTx(service.ctx, func(ctx context.Context) error { return read(ctx, columns+by+condition+last) })
		}},
		{"operation", 1, func() error {
			_, err := service.GetMessages(service.ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, Limit: 50})
			return err
		}},
		{"as-reader", 1, func() error { return read(scope, columns+by+last) }},
		{"as-reader-conn", 10, func() error {
			return store.GetDBConnection(scope, func(ctx context.Context, conn *store.Conn) error {
				for range 10 {
					rows, err := conn.Query(ctx, columns+by+last, bench.session.ID)
					if err != nil {
						return err
					}
					for rows.Next() {
						if _, err := rows.Values(); err != nil {
							return err
						}
					}
					if err := rows.Err(); err != nil {
						return err
					}
				}
				return nil
			})
		}},
	})
}

// newServiceBench returns a bench of the owner and one of a service on the same database, with an entry of memory.
func newServiceBench(b *testing.B) (owner, service bench) {
	b.Helper()
	needsOwner(b, "compares the owner with a service")
	owner = newBench(b)
	if _, err := owner.SetMemory(owner.ctx, store.SetMemoryParams{AgentID: "alice", Key: "global", Value: "value"}); err != nil {
		b.Fatal(err)
	}
	service.config = storetest.Service(b, owner.config)
	service.ctx, service.Manager = storetest.Open(b, service.config)
	service.session = owner.session
	return owner, service
}
