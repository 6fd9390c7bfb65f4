package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

func TestQueryLogShowsStatementsWithoutParameters(t *testing.T) {
	t.Parallel()
	needsOwner(t, "copies rows, which row-level security does not let a service do")
	config := storetest.Config(t)
	for _, mode := range execModes(config) {
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

// logLine is what a test looks at of a line of the log.
type logLine struct {
	Level     string `json:"level"`
	Message   string `json:"msg"`
	Operation string `json:"operation"`
	SQL       string `json:"sql"`
	Duration  int64  `json:"duration"`
	Rows      int64  `json:"rows"`
	SQLState  string `json:"sqlstate"`
	Failure   string `json:"failure"`
}

// logged opens a manager that logs at this level or above, and returns what it has logged.
func logged(t *testing.T, config store.Config, level slog.Level) (context.Context, *store.Manager, func() []logLine) {
	t.Helper()
	log := new(logBuffer)
	config.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
	ctx, m := storetest.Open(t, config)
	return ctx, m, func() []logLine {
		t.Helper()
		lines := []logLine{}
		for text := range strings.Lines(log.String()) {
			var line logLine
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			if line.Duration <= 0 {
				t.Errorf("no duration: %s", text)
			}
			line.Duration = 0
			if line.Operation != "" { // the rest is what queries/ has
				line.SQL, _, _ = strings.Cut(line.SQL, "\n")
			}
			lines = append(lines, line)
		}
		return lines
	}
}

func TestQueryLogLines(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.QueryLogging = true
	ctx, m, lines := logged(t, config, slog.LevelInfo)
	session := newSession(ctx, t, m)
	for _, sql := range []string{"SELECT 1 WHERE false", "SELECT 1/0", "SELECT pg_terminate_backend(pg_backend_pid())"} {
		_, _ = store.ExecuteQuery(ctx, sql)
	}
	_, _ = store.ExecuteQuery(ctx, "SELECT ?::int", struct{}{})
	if _, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "hello"}); err != nil {
		t.Fatal(err)
	}
	err := m.InTx(ctx, func(ctx context.Context) error {
		_, err := store.ExecuteQuery(ctx, "SELECT 1")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, _ = store.ExecuteQuery(late, "SELECT pg_sleep(600)")

	want := []logLine{
		{Level: "INFO", Message: "query", Operation: "SessionCreate", SQL: "-- name: SessionCreate :one", Rows: 1},
		{Level: "INFO", Message: "query", SQL: "SELECT 1 WHERE false"},
		{Level: "WARN", Message: "query failed", SQL: "SELECT 1/0", SQLState: "22012"},
		{Level: "WARN", Message: "query failed", SQL: "SELECT pg_terminate_backend(pg_backend_pid())", SQLState: "57P01"},
		{Level: "WARN", Message: "query failed", SQL: "SELECT $1::int", Failure: "refused by the driver"},
		{Level: "INFO", Message: "query", Operation: "MessageAdd", SQL: "-- name: MessageAdd :one", Rows: 1},
		{Level: "INFO", Message: "query", SQL: "begin"},
		{Level: "INFO", Message: "query", SQL: "SELECT 1", Rows: 1},
		{Level: "INFO", Message: "query", SQL: "commit"},
		{Level: "WARN", Message: "query failed", SQL: "SELECT pg_sleep(600)", Failure: "deadline exceeded"},
	}
	// When followers are told of the message is not for this test.
	got := slices.DeleteFunc(lines(), func(line logLine) bool { return line.Operation == "FollowNotify" })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// A caller that gives up is no reason for a warning.
func TestQueryLogOfACancelledCall(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.QueryLogging = true
	ctx, _, lines := logged(t, config, slog.LevelInfo)
	observer, _ := storetest.Open(t, store.Config{URL: config.URL, MinConnections: -1})
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := store.ExecuteQuery(cancelled, "SELECT pg_sleep(600)")
		failed <- err
	}()
	eventually(t, patience, "the statement runs", func() bool {
		return count(observer, t, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND datname = current_database()") == 1
	})
	cancel()
	wantError(t, <-failed, context.Canceled)
	want := []logLine{{Level: "INFO", Message: "query", SQL: "SELECT pg_sleep(600)", Failure: "cancelled"}}
	if diff := cmp.Diff(want, lines()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestSlowQueries(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	use := func(ctx context.Context, m *store.Manager) {
		newSession(ctx, t, m)
		if _, err := store.ExecuteQuery(ctx, "SELECT 1 FROM pg_sleep(0.02)"); err != nil {
			t.Error(err)
		}
		if _, err := store.ExecuteQuery(ctx, "SELECT pg_sleep(0.02), 1 / extract(epoch FROM now() - now())::int"); sqlState(err) != "22012" {
			t.Error(err)
		}
	}
	slow := []logLine{
		{Level: "WARN", Message: "slow query", SQL: "SELECT 1 FROM pg_sleep(0.02)", Rows: 1},
		{Level: "WARN", Message: "slow query", SQL: "SELECT pg_sleep(0.02), 1 / extract(epoch FROM now() - now())::int", SQLState: "22012"},
	}
	for _, test := range []struct {
		name  string
		all   bool
		slow  time.Duration
		level slog.Level
		want  []logLine
	}{
		{"slow ones", false, 20 * time.Millisecond, slog.LevelInfo, slow},
		{"slow ones of all", true, 20 * time.Millisecond, slog.LevelWarn, slow},
		{"none is that slow", false, 300 * time.Second, slog.LevelInfo, []logLine{}},
		{"not shown", true, 20 * time.Millisecond, slog.LevelError, []logLine{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := config
			config.QueryLogging, config.SlowQuery = test.all, test.slow
			ctx, m, lines := logged(t, config, test.level)
			use(ctx, m)
			// On a busy machine any statement may be slow.
			got := slices.DeleteFunc(lines(), func(line logLine) bool { return line.Operation != "" && test.slow < time.Second })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}
