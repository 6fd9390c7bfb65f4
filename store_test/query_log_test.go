package store_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// logBuffer collects a log that several goroutines write.
type logBuffer struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

// statements is a tracer that remembers what was sent.
type statements struct {
	mu  sync.Mutex
	sql []string
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sql = append(s.sql, data.SQL)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *statements) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sql)
}

var execModes = []store.ExecMode{
	store.ExecModeCacheStatement, store.ExecModeCacheDescribe, store.ExecModeExec, store.ExecModeSimpleProtocol,
}

func TestQueryLogShowsStatementsWithoutParameters(t *testing.T) {
	t.Parallel()
	needsOwner(t, "copies rows, which row-level security does not let a service do")
	config := storetest.Config(t)
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			const secret = "tango-uniform-42"
			log, sent := new(logBuffer), new(statements)
			config := config
			config.ExecMode = mode
			config.QueryLogging = true
			config.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			config.Tracer = sent
			ctx, m := storetest.Open(t, config)

			session := newSession(ctx, t, m)
			if _, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: secret, Metadata: map[string]any{secret: secret}}); err != nil {
				t.Error(err)
			}
			if _, err := store.ExecuteQuery(ctx, "SELECT ?::text AS echo", secret); err != nil {
				t.Error(err)
			}
			if _, err := store.ExecuteQuery(ctx, "SELECT ?::text::int AS refused", secret); sqlState(err) != "22P02" || !strings.Contains(err.Error(), secret) {
				t.Errorf("the server's error should quote the value: %v", err)
			}
			if _, err := store.ExecuteQuery(ctx, "SELECT ?::int AS unencodable", secret); err == nil {
				t.Error("a word was taken for a number")
			}
			err := store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
				_, err := conn.CopyFrom(ctx, pgx.Identifier{"audit_log"}, []string{"event_type", "agent_id"}, pgx.CopyFromRows([][]any{{secret, secret}}))
				return err
			})
			if err != nil {
				t.Error(err)
			}

			text := log.String()
			for _, want := range []string{"echo", "refused", "unencodable", "INSERT INTO messages", `COPY \"audit_log\"`, "22P02", "begin", "commit"} {
				if !strings.Contains(text, want) {
					t.Errorf("the log does not mention %s", want)
				}
			}
			if strings.Contains(text, secret) {
				t.Errorf("the log repeats a parameter:\n%s", text)
			}
			if sent.count() == 0 {
				t.Error("the tracer of the configuration was told nothing")
			}
		})
	}
}

func TestQueryLogIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	config := storetest.Config(t)
	config.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, _ := storetest.Open(t, config)
	databaseName(ctx, t)
	if text := log.String(); text != "" {
		t.Errorf("logged without being asked:\n%s", text)
	}
}
