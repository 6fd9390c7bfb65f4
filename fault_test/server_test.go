package fault_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// server is a PostgreSQL of the test's own, which can be killed and started again. Each time it listens somewhere else.
type server struct {
	*postgres.Server
	dir      string
	settings map[string]string
}

// settings let what was acknowledged survive a server that is killed. (A machine that crashes is another matter, for which
// the tests do not wait for the disk.)
var settings = map[string]string{"synchronous_commit": "on", "full_page_writes": "on"}

// newServer starts a server with further settings, each written as name=value.
func newServer(t *testing.T, further ...string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "server")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // the server runs as another user when the test is root
		t.Fatal(err)
	}
	s := &server{dir: dir, settings: maps.Clone(settings)}
	for _, setting := range further {
		name, value, _ := strings.Cut(setting, "=")
		s.settings[name] = value
	}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	started, err := postgres.Start(t.Context(), postgres.Options{Dir: filepath.Join(s.dir, "data"), Settings: s.settings})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = started
}

func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// kill ends the server at once, as "pg_ctl stop -m immediate" does, and waits for its end.
func (s *server) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(s.pid(t), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	s.stop(t)
}

// pid returns the process of the server, from which all others come.
func (s *server) pid(t *testing.T) int {
	t.Helper()
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(u.Query().Get("host"), "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// setupServer is setup with a server that is the test's own. The other manager goes through another proxy, which follows
// the server as well.
func setupServer(t *testing.T, settings ...string) (context.Context, *fixture, *server) {
	t.Helper()
	s := newServer(t, settings...)
	f := &fixture{proxy: newProxy(t, s.URL("postgres"))}
	config := store.Config{URL: through(s.URL("postgres"), f.proxy), MinConnections: -1, AcquireTimeout: 10 * time.Second}
	ctx, manager := storetest.Open(t, config)
	_, f.direct = storetest.Open(t, config)
	if err := manager.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
	f.Manager, f.session = manager, newSession(t, manager)
	return ctx, f, s
}

// follow makes proxies lead to where the server listens now.
func (s *server) follow(t *testing.T, proxies ...*faultproxy.Proxy) {
	t.Helper()
	for _, proxy := range proxies {
		proxy.Forward(address(t, s.URL("postgres")))
	}
}

func TestServerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	ctx, f, server := setupServer(t)
	restart := func() {
		server.kill(t)
		server.start(t)
		server.follow(t, f.proxy)
	}
	crash := func() { // one session dies, and the server starts over by itself
		if err := syscall.Kill(f.backend(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	runUnderLoad(ctx, t, f.Manager, f.direct, f.session, restart, crash, restart)
	f.wantWorking(t)
}

// backend returns the process of some session of the server.
func (f *fixture) backend(t *testing.T) int {
	t.Helper()
	rows, err := store.ExecuteQuery(store.NewContext(t.Context(), f.direct), "SELECT pg_backend_pid() AS pid")
	if err != nil {
		t.Fatal(err)
	}
	return int(rows[0]["pid"].(int32))
}

// The server comes back under another address, of which the URL names several.
func TestServerMovesUnderLoad(t *testing.T) {
	t.Parallel()
	ctx, f, server := setupServer(t)
	second := newProxy(t, server.URL("postgres"))
	second.Forward("unix", filepath.Join(server.dir, "nobody"))
	config := store.Config{
		URL:            through(server.URL("postgres"), f.proxy, second) + "&target_session_attrs=read-write",
		MinConnections: -1, AcquireTimeout: 10 * time.Second,
	}
	_, moving := storetest.Open(t, config)
	move := func() {
		server.kill(t)
		server.start(t)
		server.follow(t, second) // the first one leads nowhere from now on
	}
	back := func() {
		second.Forward("unix", filepath.Join(server.dir, "nobody"))
		second.CutAll()
		server.follow(t, f.proxy)
	}
	runUnderLoad(ctx, t, moving, f.direct, f.session, move, back)
}

// A server that is made to take no writes is left for the other one, without a restart of anything.
func TestServerStopsTakingWrites(t *testing.T) {
	t.Parallel()
	_, f, first := setupServer(t)
	_, _, other := setupServer(t)
	second := newProxy(t, other.URL("postgres"))
	config := store.Config{
		URL:            through(first.URL("postgres"), f.proxy, second) + "&target_session_attrs=read-write",
		MinConnections: -1,
	}
	ctx, m := storetest.Open(t, config)
	create := func() error {
		_, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "move", CreatedBy: "tester"})
		return err
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}
	f.alterSystem(t, "default_transaction_read_only = on")
	var refused error
	eventually(t, "the first server takes no writes", func() bool {
		refused = create()
		return refused != nil
	})
	wantCode(t, refused, "25006")
	wantRetryable(t, refused)
	if err := create(); err != nil {
		t.Errorf("on the second server: %v", err)
	}

	err := m.InTxOptions(ctx, store.TxOptions{ReadOnly: true}, func(ctx context.Context) error {
		_, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "refused", CreatedBy: "tester"})
		return err
	})
	wantCode(t, err, "25006")
	if store.IsRetryable(err) {
		t.Errorf("a mistake in the program is not mended by a retry: %v", err)
	}
}

// alterSystem changes a setting of a running server.
func (f *fixture) alterSystem(t *testing.T, setting string) {
	t.Helper()
	for _, sql := range []string{"ALTER SYSTEM SET " + setting, "SELECT pg_reload_conf()"} {
		if _, err := store.ExecuteUpdate(store.NewContext(t.Context(), f.direct), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// When the wait for a synchronous standby is cancelled, the server reports success, although a failover would lose the
// write. It is not acknowledged.
func TestStandbyDoesNotConfirm(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupServer(t, "wal_level=replica", "max_wal_senders=5")
	f.alterSystem(t, "synchronous_standby_names = 'nobody'")
	for _, add := range []func(ctx context.Context) error{
		func(ctx context.Context) error {
			_, err := f.AddMessage(ctx, f.session, message("local", ""))
			return err
		},
		func(ctx context.Context) error {
			return f.InTx(ctx, func(ctx context.Context) error {
				_, err := f.AddMessage(ctx, f.session, message("local in a transaction", ""))
				return err
			})
		},
	} {
		eventually(t, "the server waits for the standby", func() bool {
			bounded, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			err := add(bounded)
			if errors.Is(err, context.DeadlineExceeded) && errors.Is(err, store.ErrOutcomeUnknown) {
				return true
			}
			if err != nil && !store.IsRetryable(err) {
				t.Errorf("neither retryable nor unknown: %v", err)
			}
			return false
		})
	}
	bounded, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err := f.AddMessage(bounded, f.session, message("keyed", "key"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	wantRetryable(t, err)
	f.alterSystem(t, "synchronous_standby_names = ''")
	if _, err := f.AddMessage(ctx, f.session, message("keyed", "key")); err != nil {
		t.Error(err)
	}
	f.wantCount(t, "keyed", 1)
	f.wantWorking(t)
}
