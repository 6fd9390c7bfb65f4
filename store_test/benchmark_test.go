package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Each benchmark runs an operation of the store, then the very same statement by hand with pgx, as one would write it, on a
// pool of the same size on the same database: compare the lines /store and /pgx.

// recorder keeps the latest statement that a manager sent.
type recorder struct{ sql string }

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.sql = data.SQL
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// bench is a database with a session of 200 messages.
type bench struct {
	fixture
	ctx    context.Context
	config store.Config
}

func newBench(b *testing.B) bench {
	b.Helper()
	config := storetest.Config(b)
	ctx, m := storetest.Open(b, config)
	f := fixture{m, newSession(ctx, b, m)}
	messages := make([]store.NewMessage, 200)
	for i := range messages {
		messages[i] = store.NewMessage{
			Sender: fmt.Sprintf("agent_%d", i%5), Content: fmt.Sprintf("message %d of the benchmark, as long as a short remark", i),
			Metadata: map[string]any{"number": i},
		}
	}
	f.add(ctx, b, messages...)
	return bench{f, ctx, config}
}

// compare runs call through the store, and byHand with the statement that this sends.
func (bench bench) compare(b *testing.B, call func(context.Context, *store.Manager) error, byHand func(pool *pgxpool.Pool, sql string) error) {
	b.Helper()
	recorded := new(recorder)
	config := bench.config
	config.Tracer = recorded
	config.NotifyInterval = -1 // its statements come beside those to record
	ctx, traced := storetest.Open(b, config)
	if err := call(ctx, traced); err != nil {
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

	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := call(bench.ctx, bench.Manager); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pgx", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := byHand(pool, recorded.sql); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAddMessage(b *testing.B) {
	bench := newBench(b)
	message := store.NewMessage{
		Sender: "agent_1", SenderType: "claude", Content: "The lexer splits the statement in one pass and allocates nothing.",
		Metadata: json.RawMessage(`{"commit":"5620728b80f7","lines":1,"urgent":false}`),
	}
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.AddMessage(ctx, bench.session.ID, message)
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			var (
				added     store.Message
				found     bool
				timestamp *time.Time
			)
			return pool.QueryRow(bench.ctx, sql, bench.session.ID, message.Sender, message.SenderType, message.Content, "public",
				"agent_response", message.Metadata, timestamp, message.ParentMessageID).Scan(&added.ID, &added.Timestamp, &found)
		})
}

func BenchmarkAddMessages(b *testing.B) {
	bench := newBench(b)
	const size = 100
	messages := make([]store.NewMessage, size)
	for i := range messages {
		messages[i] = store.NewMessage{Sender: "agent_1", Content: fmt.Sprintf("message %d of a batch, as long as a short remark", i)}
	}
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.AddMessages(ctx, bench.session.ID, messages)
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			contents, senders, types := make([]string, size), make([]string, size), make([]string, size)
			visibilities, messageTypes, metadata := make([]string, size), make([]string, size), make([]string, size)
			timestamps, parents := make([]time.Time, size), make([]int64, size)
			for i, message := range messages {
				contents[i], senders[i], types[i] = message.Content, message.Sender, "generic"
				visibilities[i], messageTypes[i] = "public", "agent_response"
			}
			rows, err := pool.Query(bench.ctx, sql, bench.session.ID, contents, senders, types, visibilities, messageTypes, metadata, timestamps, parents)
			if err != nil {
				return err
			}
			added := make([]store.Message, 0, size)
			var (
				message store.Message
				found   bool
			)
			_, err = pgx.ForEachRow(rows, []any{&message.ID, &message.Timestamp, &found}, func() error {
				added = append(added, message)
				return nil
			})
			return err
		})
}

func BenchmarkGetMessages(b *testing.B) {
	seen, own, kin := []string{"public"}, []string{"private", "agent_only"}, []string{"agent_only"}
	b.Run("offset", func(b *testing.B) {
		bench := newBench(b)
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice})
				return err
			},
			func(pool *pgxpool.Pool, sql string) error {
				var total int64
				rows, err := pool.Query(bench.ctx, sql, seen, own, alice.AgentID, kin, alice.AgentType, 0, 50, bench.session.ID)
				return collectMessages(rows, err, &total)
			})
	})
	byKey := func(b *testing.B, bench bench, after store.MessageCursor) {
		b.Helper()
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, After: &after})
				return err
			},
			func(pool *pgxpool.Pool, sql string) error {
				rows, err := pool.Query(bench.ctx, sql, seen, own, kin, alice.AgentID, alice.AgentType, after.Timestamp, after.ID, 51, bench.session.ID)
				return collectMessages(rows, err)
			})
	}
	b.Run("key", func(b *testing.B) { byKey(b, newBench(b), store.MessageCursor{}) })
	b.Run("nothing new", func(b *testing.B) {
		bench := newBench(b)
		page, err := bench.GetMessages(bench.ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, Limit: 1000})
		if err != nil {
			b.Fatal(err)
		}
		byKey(b, bench, page.Next)
	})
}

// collectMessages reads rows of messages into a slice, after the columns before them.
func collectMessages(rows pgx.Rows, err error, before ...any) error {
	if err != nil {
		return err
	}
	var (
		messages []store.Message
		m        store.Message
	)
	_, err = pgx.ForEachRow(rows, append(before, &m.ID, &m.Sender, &m.SenderType, &m.Content, (*string)(&m.Visibility),
		(*string)(&m.MessageType), &m.Metadata, &m.Timestamp, &m.ParentMessageID), func() error {
		messages = append(messages, m)
		m.Metadata = nil
		return nil
	})
	return err
}

func BenchmarkGetSession(b *testing.B) {
	bench := newBench(b)
	seen, own, kin := []string{"public"}, []string{"private", "agent_only"}, []string{"agent_only"}
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetSession(ctx, bench.session.ID, alice)
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			var s store.Session
			rows, err := pool.Query(bench.ctx, sql, seen, own, kin, alice.AgentID, alice.AgentType, 50, bench.session.ID)
			return collectMessages(rows, err, &s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.IsActive, &s.CreatedBy, &s.Metadata)
		})
}

// An up-to-date database: one query.
func BenchmarkInitializeDatabase(b *testing.B) {
	bench := newBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error { return m.InitializeDatabase(ctx) },
		func(pool *pgxpool.Pool, sql string) error {
			var (
				version int64
				dirty   bool
				objects []string
			)
			return pool.QueryRow(bench.ctx, sql).Scan(&version, &dirty, &objects)
		})
}

// An empty database: the migrations, against the same DDL sent file by file on one connection.
func BenchmarkInitializeEmptyDatabase(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			ctx, m := storetest.Open(b, storetest.EmptyConfig(b))
			b.StartTimer()
			if err := m.InitializeDatabase(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pgx", func(b *testing.B) {
		names, err := fs.Glob(schema.FS, "*.up.sql")
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			b.StopTimer()
			url := storetest.EmptyConfig(b).URL
			b.StartTimer()
			conn, err := pgx.Connect(b.Context(), url)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := conn.Exec(b.Context(), "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)"); err != nil {
				b.Fatal(err)
			}
			for _, name := range names {
				ddl, err := fs.ReadFile(schema.FS, name)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := conn.PgConn().Exec(b.Context(), string(ddl)).ReadAll(); err != nil {
					b.Fatal(err)
				}
			}
			if err := conn.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
