package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// secret is the password in every URL here. It must be in no text.
const secret = "pa55word-of-the-test"

// wantConnectionError fails unless err is a DatabaseConnectionError with all of these texts, and without the password.
func wantConnectionError(tb testing.TB, err error, texts ...string) {
	tb.Helper()
	var connectionError *store.DatabaseConnectionError
	if !errors.As(err, &connectionError) {
		tb.Fatalf("got error %v, want a DatabaseConnectionError with %q", err, texts)
	}
	var databaseError *store.DatabaseError
	if !errors.As(err, &databaseError) || databaseError.Op == "" {
		tb.Errorf("no operation is named: %v", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			tb.Errorf("the error lacks %q: %v", text, err)
		}
	}
	wantNoSecret(tb, err.Error())
}

func wantNoSecret(tb testing.TB, text string) {
	tb.Helper()
	if strings.Contains(text, secret) {
		tb.Errorf("the password is shown: %s", text)
	}
}

// wantUnreachable fails unless every way to the database reports a connection error with these texts.
func wantUnreachable(tb testing.TB, config store.Config, texts ...string) {
	tb.Helper()
	ctx, m := storetest.Open(tb, config)
	_, err := store.ExecuteQuery(ctx, "SELECT 1")
	wantConnectionError(tb, err, append(texts, "execute query: ")...)
	wantConnectionError(tb, m.InTx(ctx, func(context.Context) error { return nil }), append(texts, "begin: ")...)
	wantConnectionError(tb, m.InitializeDatabase(ctx), append(texts, "read schema state: ")...)
	_, err = store.OpenMigrator(ctx, config)
	wantConnectionError(tb, err, "migrate: ")
	wantUnhealthy(ctx, tb, texts...)
	wantNoSecret(tb, m.Stats().URL)
}

// wantUnhealthy fails unless the health check reports these texts and no database.
func wantUnhealthy(ctx context.Context, tb testing.TB, texts ...string) {
	tb.Helper()
	status := store.HealthCheck(ctx)
	if status.Healthy() || status.DatabaseExists || status.DatabaseInitialized {
		tb.Errorf("health check: %+v", status)
	}
	if err := status.Err(); !errors.As(err, new(*store.DatabaseConnectionError)) || err.Error() != status.Error {
		tb.Errorf("the health check has error %v, and says %s", err, status.Error)
	}
	for _, text := range texts {
		if !strings.Contains(status.Error, text) {
			tb.Errorf("the health check lacks %q: %s", text, status.Error)
		}
	}
	if _, err := store.ParseUTCTimestamp(status.Timestamp); err != nil {
		tb.Error(err)
	}
	wantNoSecret(tb, status.Error)
}

// newRole makes a role for this test with the password above and returns its name.
func newRole(tb testing.TB, conn *pgx.Conn, attributes string) string {
	tb.Helper()
	role := "storetest_" + strings.ToLower(rand.Text()[:8])
	exec1(tb, conn, "CREATE ROLE "+role+" PASSWORD '"+secret+"' "+attributes)
	tb.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			tb.Error(err)
		}
	})
	return role
}

// asRole returns the configuration for another user.
func asRole(config store.Config, role string) store.Config {
	for _, text := range []*string{&config.URL, &config.DirectURL} {
		if *text == "" {
			continue
		}
		u, err := url.Parse(*text)
		if err != nil {
			panic(err) // storetest has made it
		}
		u.User = url.UserPassword(role, secret)
		*text = u.String()
	}
	return config
}

func TestUnreachableServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String() // a port where nobody listens
	listener.Close()
	missing := filepath.Join(t.TempDir(), "missing")
	for name, address := range map[string]string{
		"closed port":      "postgres://user:" + secret + "@" + closed + "/database?sslmode=disable",
		"missing socket":   "postgres://user:" + secret + "@/database?host=" + url.QueryEscape(missing),
		"unresolved name":  "postgres://user:" + secret + "@host.invalid/database",
		"several hosts":    "postgres://user:" + secret + "@" + closed + "," + closed + "/database?sslmode=disable",
		"SQLAlchemy's URL": "postgresql+asyncpg://user:" + secret + "@" + closed + "/database?ssl=disable",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantUnreachable(t, store.Config{URL: address, MinConnections: -1}, "check that the server runs")
		})
	}
}

// A server that accepts connections and says nothing is given up, in the time that the URL or the manager sets.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	address := "postgres://user:" + secret + "@" + listener.Addr().String() + "/database?sslmode=disable"

	ctx, _ := storetest.Open(t, store.Config{URL: address, MinConnections: -1, AcquireTimeout: time.Second})
	_, err = store.ExecuteQuery(ctx, "SELECT 1")
	wantConnectionError(t, err, "acquire connection: timed out after 1s: the server did not answer")
	wantError(t, err, context.DeadlineExceeded)

	ctx, _ = storetest.Open(t, store.Config{URL: address + "&connect_timeout=1", MinConnections: -1})
	_, err = store.ExecuteQuery(ctx, "SELECT 1")
	wantConnectionError(t, err, listener.Addr().String(), "timeout", "check that the server runs")
	_, err = store.OpenMigrator(ctx, store.Config{URL: address + "&connect_timeout=1"})
	wantConnectionError(t, err, "migrate: ", "timeout")
}

func TestRefusedByServer(t *testing.T) {
	t.Parallel()
	needsOwner(t, "migrates by the address of the service")
	config := storetest.Config(t)
	if throughPooler(config) {
		t.Skip("a pooler lets clients in by itself and does not pass on how the server refuses them")
	}
	conn := connect(t, config)
	role := newRole(t, conn, "LOGIN CONNECTION LIMIT 0")
	wantUnreachable(t, asRole(config, role), "SQLSTATE 53300", "DATABASE_MAX_CONNECTIONS")

	exec1(t, conn, "ALTER ROLE "+role+" NOLOGIN")
	wantUnreachable(t, asRole(config, role), "SQLSTATE 28000", "check user and password")

	u, err := url.Parse(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/storetest_missing"
	missing := config
	missing.URL = u.String()
	wantUnreachable(t, missing, "SQLSTATE 3D000", "storetest_missing", "create the database")
}

// With one connection, held by a transaction, the next operation waits for DATABASE_TIMEOUT and says so.
func TestPoolExhausted(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.MaxConnections, config.AcquireTimeout = 1, time.Second
	ctx, m := storetest.Open(t, config)
	err := m.InTx(ctx, func(inside context.Context) error {
		if _, err := store.ExecuteQuery(inside, "SELECT 1"); err != nil {
			return err
		}
		_, err := store.ExecuteQuery(ctx, "SELECT 1")
		wantConnectionError(t, err, "timed out after 1s: all 1 connections are in use", "POSTGRESQL_POOL_SIZE")
		wantError(t, err, context.DeadlineExceeded)
		wantUnhealthy(ctx, t, "connections are in use")

		cancelled, cancel := context.WithCancel(ctx)
		failed := make(chan error)
		waits := m.Stats().Canceled
		go func() {
			_, err := store.ExecuteQuery(cancelled, "SELECT 1")
			failed <- err
		}()
		cancel()
		err = <-failed
		wantError(t, err, context.Canceled)
		if errors.As(err, new(*store.DatabaseConnectionError)) || !errors.As(err, new(*store.DatabaseError)) {
			t.Errorf("got %v, want a DatabaseError that blames no connection", err)
		}
		if m.Stats().Canceled <= waits {
			t.Error("the pool counts no cancelled wait")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if status := store.HealthCheck(ctx); !status.Healthy() {
		t.Errorf("health check after: %+v", status)
	}
}

// restartable is a server of the test's own, which can be stopped and started again under the same address.
type restartable struct {
	*postgres.Server
	dir      string
	settings map[string]string
}

func newServer(t *testing.T) *restartable {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server of its own")
	}
	dir, err := os.MkdirTemp("", "server") // t.TempDir() is too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	hba := filepath.Join(dir, "pg_hba.conf")
	rules := "local all postgres trust\nlocal all all scram-sha-256\n"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(hba, []byte(rules), 0o644)); err != nil {
		t.Fatal(err)
	}
	s := &restartable{dir: dir, settings: map[string]string{"hba_file": hba}}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *restartable) start(t *testing.T) {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Options{Dir: filepath.Join(s.dir, "data"), Settings: s.settings})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = server
	u, err := url.Parse(server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(s.socket())
	if err := os.Symlink(u.Query().Get("host"), s.socket()); err != nil {
		t.Fatal(err)
	}
}

func (s *restartable) stop(t *testing.T) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func (s *restartable) socket() string { return filepath.Join(s.dir, "s") }

// config is the configuration for a user of the server, whose address stays when it is started again.
func (s *restartable) config(user, password string) store.Config {
	return store.Config{
		URL:            "postgres://" + url.UserPassword(user, password).String() + "@/postgres?host=" + url.QueryEscape(s.socket()),
		MinConnections: -1, AcquireTimeout: 10 * time.Second,
	}
}

func TestServerStopsAndComesBack(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	ctx, m := storetest.Open(t, server.config("postgres", secret))
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
	session := newSession(ctx, t, m)

	broken := errors.New("nothing failed")
	err := m.InTx(ctx, func(inside context.Context) error {
		if _, err := store.ExecuteQuery(inside, "SELECT 1"); err != nil {
			return err
		}
		server.stop(t)
		_, broken = store.ExecuteQuery(inside, "SELECT 1")
		wantConnectionError(t, broken)
		_, err := store.ExecuteQuery(inside, "SELECT 1") // on the connection that is known to be lost
		wantConnectionError(t, err)
		return broken
	})
	if err != broken { // as it was
		t.Errorf("got error %v, want %v", err, broken)
	}
	_, err = m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "lost"})
	wantConnectionError(t, err, "add message: ", "check that the server runs")
	wantUnhealthy(ctx, t, "check that the server runs")

	server.start(t)
	var message store.Message
	eventually(t, patience, "the manager works again", func() bool {
		message, err = m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "back"})
		if err != nil {
			wantConnectionError(t, err)
		}
		return err == nil
	})
	if message.SessionID != session.ID {
		t.Errorf("got %+v", message)
	}
	if status := store.HealthCheck(ctx); !status.Healthy() {
		t.Errorf("health check after: %+v", status)
	}
}

func TestServerRefusesUser(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	admin := connect(t, server.config("postgres", secret))
	exec1(t, admin, "CREATE ROLE service LOGIN PASSWORD 'right'")
	ctx, m := storetest.Open(t, server.config("service", "right"))
	if _, err := store.ExecuteQuery(ctx, "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(ctx); err != nil {
		t.Fatal(err)
	}
	wantUnreachable(t, server.config("service", secret), "SQLSTATE 28P01", "check user and password")
	wantUnreachable(t, server.config("nobody", secret), "SQLSTATE 28P01", "check user and password")

	exec1(t, admin, "CREATE DATABASE crowded CONNECTION LIMIT 0")
	crowded := server.config("service", "right")
	crowded.URL = strings.Replace(crowded.URL, "/postgres?", "/crowded?", 1)
	wantUnreachable(t, crowded, "SQLSTATE 53300", "max_connections")
}
