package store_test

import (
	"context"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Each operation as the owner of the tables, whom row-level security does not concern, and as a service, for whom the
// policies are added: compare the lines /owner and /service. Both use the same database.
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
			for _, role := range []struct {
				name string
				ctx  context.Context
				m    *store.Manager
			}{{"owner", bench.ctx, bench.Manager}, {"service", service.ctx, service.Manager}} {
				b.Run(role.name, func(b *testing.B) {
					for b.Loop() {
						if err := operation.call(role.ctx, role.m); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// A page of messages that a reader may see: by GetMessages; by SQL of a service's own, which has to say by itself what the
// reader may see, in a transaction and without; and by the same SQL without that condition in the scope of the reader, by
// a statement and by 10 statements of one connection.
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
	for _, way := range []struct {
		name string
		call func() error
	}{
		{"operation", func() error {
			_, err := service.GetMessages(service.ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, Limit: 50})
			return err
		}},
		{"raw", func() error { return read(service.ctx, columns+by+condition+last) }},
		{"raw in a transaction", func() error {
			return service.InTx(service.ctx, func(ctx context.Context) error { return read(ctx, columns+by+condition+last) })
		}},
		{"as reader", func() error { return read(scope, columns+by+last) }},
		{"as reader, 10 of a connection", func() error {
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
	} {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				if err := way.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
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
