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

// Each benchmark runs an operation of the store, then the very same statement and arguments by hand with pgx, on a pool
// of the same size on the same database: compare the lines /store and /pgx.

// recorder keeps the latest statement that a manager sent.
type recorder struct {
	sql  string
	args []any
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.sql, r.args = data.SQL, data.Args
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// bench is a database with a session of 200 messages.
type bench struct {
	ctx     context.Context
	config  store.Config
	m       *store.Manager
	session store.Session
}

func newBench(b *testing.B) bench {
	b.Helper()
	config := storetest.Config(b)
	ctx, m := storetest.Open(b, config)
	session := newSession(ctx, b, m)
	messages := make([]store.NewMessage, 200)
	for i := range messages {
		messages[i] = store.NewMessage{
			Sender: fmt.Sprintf("agent_%d", i%5), Content: fmt.Sprintf("message %d of the benchmark, as long as a short remark", i),
			Metadata: map[string]any{"number": i},
		}
	}
	if _, err := m.AddMessages(ctx, session.ID, messages); err != nil {
		b.Fatal(err)
	}
	return bench{ctx, config, m, session}
}

// compare runs call through the store, records what it sends, and runs that with pgx, scanning each row with scan.
func (bench bench) compare(b *testing.B, call func(context.Context, *store.Manager) error, scan func(pgx.Rows) error) {
	recorded := new(recorder)
	config := bench.config
	config.Tracer = recorded
	ctx, traced := storetest.Open(b, config)
	if err := call(ctx, traced); err != nil {
		b.Fatal(err)
	}
	pool, err := pgxpool.New(bench.ctx, bench.config.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()

	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := call(bench.ctx, bench.m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pgx", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rows, err := pool.Query(bench.ctx, recorded.sql, recorded.args...)
			if err != nil {
				b.Fatal(err)
			}
			for rows.Next() {
				if err := scan(rows); err != nil {
					b.Fatal(err)
				}
			}
			if err := rows.Err(); err != nil {
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
		func(rows pgx.Rows) error {
			var (
				id        int64
				timestamp time.Time
				found     bool
			)
			return rows.Scan(&id, &timestamp, &found)
		})
}

func BenchmarkAddMessages(b *testing.B) {
	bench := newBench(b)
	messages := make([]store.NewMessage, 100)
	for i := range messages {
		messages[i] = store.NewMessage{Sender: "agent_1", Content: fmt.Sprintf("message %d of a batch, as long as a short remark", i)}
	}
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.AddMessages(ctx, bench.session.ID, messages)
			return err
		},
		func(rows pgx.Rows) error {
			var (
				id        int64
				timestamp time.Time
				found     bool
			)
			return rows.Scan(&id, &timestamp, &found)
		})
}

func BenchmarkGetMessages(b *testing.B) {
	scan := func(rows pgx.Rows, more ...any) error {
		var m store.Message
		return rows.Scan(append(more, &m.ID, &m.Sender, &m.SenderType, &m.Content, (*string)(&m.Visibility),
			(*string)(&m.MessageType), &m.Metadata, &m.Timestamp, &m.ParentMessageID)...)
	}
	b.Run("offset", func(b *testing.B) {
		bench := newBench(b)
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice})
				return err
			},
			func(rows pgx.Rows) error { return scan(rows, new(int64)) })
	})
	b.Run("key", func(b *testing.B) {
		bench := newBench(b)
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, After: &store.MessageCursor{}})
				return err
			},
			func(rows pgx.Rows) error { return scan(rows) })
	})
	b.Run("nothing new", func(b *testing.B) {
		bench := newBench(b)
		page, err := bench.m.GetMessages(bench.ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, Limit: 1000})
		if err != nil {
			b.Fatal(err)
		}
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: bench.session.ID, Reader: alice, After: &page.Next})
				return err
			},
			func(rows pgx.Rows) error { return scan(rows) })
	})
}

func BenchmarkGetSession(b *testing.B) {
	bench := newBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetSession(ctx, bench.session.ID, alice)
			return err
		},
		func(rows pgx.Rows) error {
			var (
				s store.Session
				m store.Message
			)
			return rows.Scan(&s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.IsActive, &s.CreatedBy, &s.Metadata, &m.ID, &m.Sender,
				&m.SenderType, &m.Content, (*string)(&m.Visibility), (*string)(&m.MessageType), &m.Metadata, &m.Timestamp, &m.ParentMessageID)
		})
}

// An up-to-date database: one query.
func BenchmarkInitializeDatabase(b *testing.B) {
	newBench(b).compare(b,
		func(ctx context.Context, m *store.Manager) error { return m.InitializeDatabase(ctx) },
		func(rows pgx.Rows) error { return rows.Scan(new(int64), new(bool), new([]string)) })
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
