package fault_test

import (
	"context"
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
	dir string
}

// settings let what was acknowledged survive a server that is killed. (A machine that crashes is another matter, for which
// the tests do not wait for the disk.)
var settings = map[string]string{"synchronous_commit": "on", "full_page_writes": "on"}

func newServer(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "server")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // the server runs as another user when the test is root
		t.Fatal(err)
	}
	s := &server{dir: dir}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	started, err := postgres.Start(t.Context(), postgres.Options{Dir: filepath.Join(s.dir, "data"), Settings: maps.Clone(settings)})
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
func setupServer(t *testing.T) (context.Context, *fixture, *server) {
	t.Helper()
	s := newServer(t)
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
	for _, sql := range []string{"ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"} {
		if _, err := store.ExecuteUpdate(store.NewContext(ctx, f.direct), sql); err != nil {
			t.Fatal(err)
		}
	}
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
