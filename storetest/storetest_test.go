package storetest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask returns the single value that a query gives.
func ask[T any](ctx context.Context, tb testing.TB, sql string, params ...any) T {
	tb.Helper()
	rows, err := store.ExecuteQuery(ctx, sql, params...)
	if err != nil {
		tb.Fatal(err)
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		tb.Fatalf("%s: got %v, want one value", sql, rows)
	}
	var value T
	for name := range rows[0] {
		value = rows[0][name].(T)
	}
	return value
}

func currentDatabase(ctx context.Context, tb testing.TB) string {
	tb.Helper()
	return ask[string](ctx, tb, "SELECT current_database()::text")
}

func exists(ctx context.Context, tb testing.TB, name string) bool {
	tb.Helper()
	return ask[bool](ctx, tb, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = ?)", name)
}

//nolint:tparallel // the group ends with its tests
func TestDatabasesAreIsolated(t *testing.T) {
	t.Parallel()
	names := make(chan string, 5)
	t.Run("group", func(t *testing.T) {
		for range cap(names) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				ctx, m := storetest.New(t)
				if carried, _ := store.FromContext(ctx); carried != m {
					t.Error("the context does not carry the manager")
				}
				if err := m.InitializeDatabase(ctx); err != nil {
					t.Errorf("the schema is not complete: %v", err)
				}
				if got := ask[int64](ctx, t, "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM audit_log)"); got != 0 {
					t.Errorf("the database holds %d rows at the start", got)
				}
				if _, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "test", CreatedBy: "alice"}); err != nil {
					t.Error(err)
				}
				if _, err := store.ExecuteUpdate(ctx, "CREATE TABLE mine (id int)"); err != nil {
					t.Error(err)
				}
				names <- currentDatabase(ctx, t)
			})
		}
	})
	close(names)
	ctx, _ := storetest.New(t)
	seen := make(map[string]bool)
	for name := range names {
		if seen[name] {
			t.Errorf("two tests had the database %s", name)
		}
		seen[name] = true
		if exists(ctx, t, name) {
			t.Errorf("%s is still there after its test", name)
		}
	}
}

// A database is dropped even when somebody is still connected to it, and when its test has failed to close its manager.
//
//nolint:tparallel // the subtest has to end first
func TestDatabaseIsDroppedWhileInUse(t *testing.T) {
	t.Parallel()
	var name string
	var left *pgx.Conn
	t.Run("leaves a connection", func(t *testing.T) {
		config := storetest.Config(t)
		ctx, _ := storetest.Open(t, config)
		name = currentDatabase(ctx, t)
		var err error
		if left, err = pgx.Connect(ctx, config.URL); err != nil {
			t.Fatal(err)
		}
	})
	ctx, _ := storetest.New(t)
	if exists(ctx, t, name) {
		t.Errorf("%s is still there after its test", name)
	}
	if err := left.Ping(ctx); err == nil {
		t.Error("the connection that was left still works")
	}
	_ = left.Close(ctx)
}

//nolint:tparallel // the subtest has to end first
func TestOpenClosesItsManager(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.PoolSize = 3
	var ctx context.Context
	t.Run("opens", func(t *testing.T) {
		var m *store.Manager
		ctx, m = storetest.Open(t, config) //nolint:fatcontext // to be used after its end
		if size := m.Stats().MaxConnections; size != 3 {
			t.Errorf("a pool of %d, want 3", size)
		}
		currentDatabase(ctx, t)
	})
	_, err := store.ExecuteQuery(context.WithoutCancel(ctx), "SELECT 1")
	if !errors.Is(err, store.ErrManagerClosed) {
		t.Errorf("after its test: %v, want %v", err, store.ErrManagerClosed)
	}
	if ctx.Err() == nil {
		t.Error("the context has not ended with its test")
	}
	again, _ := storetest.Open(t, config)
	if _, err := store.GetSchemaVersion(again); err != nil {
		t.Errorf("the database is gone before its own test: %v", err)
	}
}

func TestEmptyConfig(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, storetest.EmptyConfig(t))
	const tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
	if n := ask[int64](ctx, t, tables); n != 0 {
		t.Errorf("an empty database holds %d relations", n)
	}
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Error(err)
	}
}

// What follows needs processes of their own: each runs TestChild and holds a database until its input ends.

const childVariable = "STORETEST_TEST_CHILD"

func TestChild(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("runs in a child process only")
	}
	ctx, _ := storetest.New(t)
	empty, _ := storetest.Open(t, storetest.EmptyConfig(t))
	fmt.Println("databases:", currentDatabase(ctx, t), currentDatabase(empty, t))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	names []string
}

// startChild returns a process and its databases, none when it could not make them.
func startChild(t *testing.T, env ...string) *child {
	t.Helper()
	c := &child{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.count=1")}
	c.cmd.Env = append(append(os.Environ(), childVariable+"=1"), env...)
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin, c.out = stdin, bufio.NewReader(stdout)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := c.out.ReadString('\n')
	if names, ok := strings.CutPrefix(line, "databases: "); ok {
		c.names = strings.Fields(names)
	} else {
		c.out = bufio.NewReader(io.MultiReader(strings.NewReader(line), c.out))
	}
	return c
}

// exit lets the process end by itself and returns what else it had to say.
func (c *child) exit() (string, error) {
	_ = c.stdin.Close()
	text, _ := io.ReadAll(c.out)
	return string(text), c.cmd.Wait()
}

// kill ends the process before it can drop anything.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, c.out)
	_ = c.cmd.Wait()
}

func (c *child) databases(t *testing.T) []string {
	t.Helper()
	if len(c.names) != 2 {
		text, err := c.exit()
		t.Fatalf("the child has made no databases: %v\n%s", err, text)
	}
	return c.names
}

const templates = "SELECT coalesce(string_agg(datname || ':' || oid, ' ' ORDER BY oid), '') FROM pg_database WHERE datname LIKE 'storetest_template%'"

func TestDatabasesOfKilledProcess(t *testing.T) {
	t.Parallel()
	ctx, _ := storetest.New(t)
	mine := currentDatabase(ctx, t)
	before := ask[string](ctx, t, templates)
	killed, living := startChild(t), startChild(t)
	abandoned, used := killed.databases(t), living.databases(t)
	killed.kill()
	// The server notices a while later that the process is gone, and releases what tells its databases from others.
	process := strings.Join(strings.Split(abandoned[0], "_")[:3], "_")
	for ask[bool](ctx, t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname LIKE ?)", process+"%") {
		continue
	}
	for _, name := range abandoned {
		if !exists(ctx, t, name) {
			t.Errorf("%s is gone before its time: this proves nothing", name)
		}
	}
	for next := range 5 {
		c := startChild(t)
		c.databases(t)
		if text, err := c.exit(); err != nil {
			t.Errorf("process %d: %v\n%s", next, err, text)
		}
		if !exists(ctx, t, abandoned[0]) && !exists(ctx, t, abandoned[1]) {
			break
		}
	}
	for _, name := range abandoned {
		if exists(ctx, t, name) {
			t.Errorf("%s of a killed process is still there", name)
		}
	}
	for _, name := range append(used, mine) {
		if !exists(ctx, t, name) {
			t.Errorf("%s of a living process is gone", name)
		}
	}
	after := ask[string](ctx, t, templates)
	for _, template := range strings.Fields(before) {
		if !slices.Contains(strings.Fields(after), template) {
			t.Errorf("template %s is gone or was made again: %s", template, after)
		}
	}
	if text, err := living.exit(); err != nil {
		t.Errorf("the other process: %v\n%s", err, text)
	}
	for _, name := range used {
		if exists(ctx, t, name) {
			t.Errorf("%s is still there after its process", name)
		}
	}
}

func TestServerOfTheEnvironment(t *testing.T) {
	t.Parallel()
	server, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	there, _ := storetest.Open(t, store.Config{URL: server.URL("postgres"), MinConnections: -1})
	here, _ := storetest.New(t)
	c := startChild(t, "STORETEST_DATABASE_URL="+server.URL("postgres"))
	for _, name := range c.databases(t) {
		if !exists(there, t, name) || exists(here, t, name) {
			t.Errorf("%s is not on the server that the environment names", name)
		}
	}
	if text, err := c.exit(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	if n := ask[int64](there, t, "SELECT count(*) FROM pg_database WHERE datname ~ '^storetest_[0-9a-f]{8}_[0-9a-f]{8}_'"); n != 0 {
		t.Errorf("%d databases are left", n)
	}
}

func TestServerOfTheEnvironmentIsMissing(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"nonsense", "host=localhost dbname=x", "postgres://localhost:1/x", "postgres://user:hunter2@local host/x"} {
		text, err := startChild(t, "STORETEST_DATABASE_URL="+value).exit()
		if err == nil || !strings.Contains(text, "STORETEST_DATABASE_URL") {
			t.Errorf("%q: %v, and this does not name the variable:\n%s", value, err, text)
		}
		if strings.Contains(text, "hunter2") {
			t.Errorf("%q: the password is in:\n%s", value, text)
		}
	}
}
