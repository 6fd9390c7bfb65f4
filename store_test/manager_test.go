package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// patience bounds the waiting for something that happens unless the code is broken.
const patience = 30 * time.Second

// openPool returns a manager of a new database with a pool of this size.
func openPool(tb testing.TB, size int) (context.Context, *store.Manager, store.Config) {
	tb.Helper()
	config := storetest.Config(tb)
	config.PoolSize = size
	ctx, m := storetest.Open(tb, config)
	return ctx, m, config
}

// connect returns a connection to the server itself that no manager knows of, of the owner of the database.
func connect(tb testing.TB, config store.Config) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), serverURL(config))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// awaitNumber asks until the answer is want.
func awaitNumber(ctx context.Context, tb testing.TB, conn *pgx.Conn, want int, sql string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for got := want - 1; got != want; {
		if err := conn.QueryRow(ctx, sql).Scan(&got); err != nil {
			tb.Fatalf("waiting for %d from %s, last got %d: %v", want, sql, got, err)
		}
	}
}

// gate holds up the sessions that run passGate until it is opened.
type gate struct{ conn *pgx.Conn }

const passGate = "SELECT 1 FROM pg_advisory_xact_lock_shared(4711)"

func newGate(tb testing.TB, config store.Config) gate {
	tb.Helper()
	g := gate{connect(tb, config)}
	if _, err := g.conn.Exec(tb.Context(), "SELECT pg_advisory_lock(4711)"); err != nil {
		tb.Fatal(err)
	}
	return g
}

// await returns when a session stands before the gate.
func (g gate) await(ctx context.Context, tb testing.TB) {
	tb.Helper()
	awaitNumber(ctx, tb, g.conn, 1, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
}

func (g gate) open(ctx context.Context, tb testing.TB) {
	tb.Helper()
	if _, err := g.conn.Exec(ctx, "SELECT pg_advisory_unlock(4711)"); err != nil {
		tb.Fatal(err)
	}
}

// awaitGoroutine returns when the stack of some goroutine contains all of these words.
func awaitGoroutine(tb testing.TB, words ...string) {
	tb.Helper()
	stacks := make([]byte, 16<<20)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
	goroutines:
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			for _, word := range words {
				if !strings.Contains(stack, word) {
					continue goroutines
				}
			}
			return
		}
	}
	tb.Fatalf("no goroutine got to %v", words)
}

func databaseName(ctx context.Context, tb testing.TB) string {
	tb.Helper()
	rows, err := store.ExecuteQuery(ctx, "SELECT current_database()::text AS name")
	if err != nil {
		tb.Fatal(err)
	}
	return rows[0]["name"].(string)
}

func TestContextCarriesManager(t *testing.T) {
	t.Parallel()
	if m, ok := store.FromContext(t.Context()); m != nil || ok {
		t.Errorf("an empty context carries %v, %v", m, ok)
	}
	if m, ok := store.FromContext(store.NewContext(t.Context(), nil)); m != nil || ok {
		t.Errorf("a context with a nil manager carries %v, %v", m, ok)
	}
	first, second := unreachable(t), unreachable(t)
	ctx := store.NewContext(t.Context(), first)
	if m, ok := store.FromContext(ctx); m != first || !ok {
		t.Errorf("FromContext gives %p, %v, want %p", m, ok, first)
	}
	if m, err := store.GetManager(ctx); m != first || err != nil {
		t.Errorf("GetManager gives %p, %v, want %p", m, err, first)
	}
	if m, err := store.GetManager(store.NewContext(ctx, second)); m != second || err != nil {
		t.Errorf("GetManager of the inner context gives %p, %v, want %p", m, err, second)
	}
}

// unreachable returns a manager whose server does not exist.
func unreachable(tb testing.TB) *store.Manager {
	tb.Helper()
	_, m := storetest.Open(tb, store.Config{URL: "postgresql://nobody@127.0.0.1:1/none", MinConnections: -1})
	return m
}

func TestDefaultManager(t *testing.T) {
	config := storetest.Config(t)
	t.Setenv("DATABASE_URL", config.URL)
	t.Setenv("DATABASE_MIN_CONNECTIONS", "0")
	t.Setenv("POSTGRESQL_POOL_SIZE", "3")
	ctx := t.Context()
	t.Cleanup(func() {
		if err := store.DisposeManager(context.Background()); err != nil {
			t.Error(err)
		}
	})

	const goroutines = 20
	got := make([]*store.Manager, goroutines)
	start := make(chan struct{})
	var asking sync.WaitGroup
	for i := range got {
		asking.Go(func() {
			<-start
			var err error
			if got[i], err = store.GetManager(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	asking.Wait()
	for _, m := range got {
		if m == nil || m != got[0] {
			t.Fatalf("several default managers: %p", got)
		}
	}
	if size := got[0].Stats().MaxConnections; size != 3 {
		t.Errorf("a pool of %d, the environment says 3", size)
	}
	if name := databaseName(ctx, t); !strings.Contains(config.URL, name) {
		t.Errorf("ExecuteQuery asked database %s", name)
	}
	other := unreachable(t)
	if m, err := store.GetManager(store.NewContext(ctx, other)); m != other || err != nil {
		t.Errorf("GetManager gives %p, %v, want the manager of the context", m, err)
	}

	if err := store.DisposeManager(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := got[0].GetSession(ctx, unknownSession, alice)
	wantError(t, err, store.ErrManagerClosed)
	again, err := store.GetManager(ctx)
	if err != nil || again == got[0] {
		t.Fatalf("after its disposal GetManager gives the same default manager, or %v", err)
	}
	databaseName(ctx, t)

	if err := again.Close(ctx); err != nil { // as good as DisposeManager
		t.Fatal(err)
	}
	databaseName(ctx, t)
}

func TestDefaultManagerWithoutEnvironment(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	t.Setenv("DATABASE_PATH", "")
	ctx := t.Context()
	calls := map[string]func() error{
		"GetManager":         func() error { _, err := store.GetManager(ctx); return err },
		"InitializeDatabase": func() error { return store.InitializeDatabase(ctx) },
		"GetDBConnection":    func() error { return store.GetDBConnection(ctx, nil) },
		"ExecuteQuery":       func() error { _, err := store.ExecuteQuery(ctx, "SELECT 1"); return err },
		"ExecuteUpdate":      func() error { _, err := store.ExecuteUpdate(ctx, "SELECT 1"); return err },
		"ExecuteInsert":      func() error { _, err := store.ExecuteInsert(ctx, "SELECT 1"); return err },
		"GetSchemaVersion":   func() error { _, err := store.GetSchemaVersion(ctx); return err },
		"CleanupExpiredData": func() error { _, err := store.CleanupExpiredData(ctx); return err },
		"HealthCheck":        func() error { return healthError(ctx) },
	}
	for name, call := range calls {
		err := call()
		if err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || !strings.Contains(err.Error(), "postgresql://") {
			t.Errorf("%s: the error does not say what to set: %v", name, err)
		}
		var setting *store.ConfigError
		if name != "HealthCheck" && (!errors.Is(err, store.ErrNoManager) || !errors.As(err, &setting) || setting.Variable != "DATABASE_URL") {
			t.Errorf("%s: got error %v, want ErrNoManager around a ConfigError", name, err)
		}
	}
	if err := store.DisposeManager(ctx); err != nil {
		t.Errorf("DisposeManager without a manager: %v", err)
	}
}

// healthError returns what HealthCheck reports, as an error.
func healthError(ctx context.Context) error {
	status := store.HealthCheck(ctx)
	if status.Healthy() {
		return nil
	}
	return errors.New(status.Error)
}

func TestDisposeManagerOfContext(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	databaseName(ctx, t)
	if err := store.DisposeManager(ctx); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"operation":          func() error { _, err := m.GetSession(ctx, unknownSession, alice); return err },
		"InTx":               func() error { return m.InTx(ctx, func(context.Context) error { return nil }) },
		"InitializeDatabase": func() error { return m.InitializeDatabase(ctx) },
		"GetDBConnection":    func() error { return store.GetDBConnection(ctx, nil) },
		"ExecuteQuery":       func() error { _, err := store.ExecuteQuery(ctx, "SELECT 1"); return err },
		"GetSchemaVersion":   func() error { _, err := store.GetSchemaVersion(ctx); return err },
		"CleanupExpiredData": func() error { _, err := store.CleanupExpiredData(ctx); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, store.ErrManagerClosed) {
			t.Errorf("%s: got error %v, want %v", name, err, store.ErrManagerClosed)
		}
	}
	if status := store.HealthCheck(ctx); status.Healthy() || !strings.Contains(status.Error, "closed") {
		t.Errorf("health of a closed manager: %+v", status)
	}
	if stats := m.Stats(); stats.OpenConnections != 0 || stats.InUse != 0 {
		t.Errorf("connections of a closed manager: %+v", stats)
	}
	if err := store.DisposeManager(ctx); err != nil {
		t.Errorf("disposed of once more: %v", err)
	}
}

// TestDisposeAllManagers runs in a process of its own, because it takes the managers of all tests.
func TestDisposeAllManagers(t *testing.T) {
	const child = "STORE_TEST_DISPOSES_ALL"
	if os.Getenv(child) != "" {
		disposeAllManagers(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDisposeAllManagers$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1", "DATABASE_URL="+storetest.Config(t).URL)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDisposeAllManagers") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func disposeAllManagers(t *testing.T) {
	t.Helper()
	ctx, busy := storetest.New(t)
	_, idle := storetest.New(t)
	fallback, err := store.GetManager(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inTx, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- busy.InTx(ctx, func(ctx context.Context) error {
			close(inTx)
			<-release
			return record(ctx, "committed")
		})
	}()
	<-inTx
	disposed := make(chan struct{})
	go func() {
		defer close(disposed)
		store.DisposeAllManagers()
	}()
	for _, m := range []*store.Manager{busy, idle, fallback} {
		awaitClosed(t.Context(), t, m)
	}
	select {
	case <-disposed:
		t.Error("did not wait for the running transaction")
	default:
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the running transaction: %v", err)
	}
	<-disposed

	again, err := store.GetManager(t.Context())
	if err != nil || again == fallback {
		t.Errorf("the default manager afterwards is the same or %v", err)
	}
	databaseName(t.Context(), t)
	store.DisposeAllManagers()
	awaitClosed(t.Context(), t, again)
}

// awaitClosed returns when the manager refuses new work.
func awaitClosed(ctx context.Context, tb testing.TB, m *store.Manager) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := m.GetSession(ctx, unknownSession, alice)
		if errors.Is(err, store.ErrManagerClosed) {
			return
		}
		wantError(tb, err, store.ErrSessionNotFound)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	ctx, m, _ := openPool(t, 2)
	want := func(when string, open, idle, inUse int) {
		t.Helper()
		got := m.Stats()
		if got.MaxConnections != 2 || got.OpenConnections != open || got.Idle != idle || got.InUse != inUse {
			t.Errorf("%s: %+v, want %d of 2 open, %d idle, %d in use", when, got, open, idle, inUse)
		}
	}
	want("at the start", 0, 0, 0)
	err := m.InTx(ctx, func(ctx context.Context) error {
		want("in a transaction", 1, 0, 1)
		databaseName(store.WithoutTx(ctx), t)
		want("after a call outside of it", 2, 1, 1)
		return m.InTx(store.WithoutTx(ctx), func(inner context.Context) error {
			want("in two transactions", 2, 0, 2)

			before := m.Stats()
			expired, cancel := context.WithTimeout(store.WithoutTx(inner), time.Millisecond)
			defer cancel()
			_, err := store.ExecuteQuery(expired, "SELECT 1")
			wantError(t, err, context.DeadlineExceeded)
			if after := m.Stats(); after.Canceled != before.Canceled+1 || after.Acquired != before.Acquired {
				t.Errorf("after waiting in vain: %+v, before: %+v", after, before)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	want("at the end", 2, 2, 0)

	if got := m.Stats().Acquired; got != 3 {
		t.Errorf("%d connections given out, want 3", got)
	}
}

func TestStatsCountsWaits(t *testing.T) {
	t.Parallel()
	ctx, m, _ := openPool(t, 1)
	var waited chan error
	var before store.Stats
	err := m.InTx(ctx, func(context.Context) error {
		before = m.Stats()
		waited = make(chan error, 1)
		go waitForConnection(ctx, waited)
		awaitGoroutine(t, "waitForConnection", "puddle", "[select")
		return nil
	})
	if err := errors.Join(err, <-waited); err != nil {
		t.Fatal(err)
	}
	after := m.Stats()
	if after.Waits != before.Waits+1 || after.WaitDuration <= before.WaitDuration || after.Acquired != before.Acquired+1 {
		t.Errorf("after one call had to wait: %+v, before: %+v", after, before)
	}
}

// waitForConnection has a name by which awaitGoroutine can find it.
func waitForConnection(ctx context.Context, waited chan<- error) {
	_, err := store.ExecuteQuery(ctx, "SELECT 1")
	waited <- err
}

func TestStatsURLHasNoPassword(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(storetest.Config(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("planner", "hunter2/öl")
	_, m := storetest.Open(t, store.Config{URL: u.String(), MinConnections: -1})
	text, err := json.Marshal(m.Stats())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") {
		t.Errorf("the password is in %s", text)
	}
	if got := m.Stats().URL; !strings.Contains(got, "planner") || !strings.Contains(got, u.Path) {
		t.Errorf("neither user nor database are in %s", got)
	}
}
