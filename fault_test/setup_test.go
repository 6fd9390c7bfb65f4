package fault_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// fixture is a database with one session, a manager that reaches it through a proxy, and one that does not.
type fixture struct {
	*store.Manager
	proxy   *faultproxy.Proxy
	direct  *store.Manager
	server  string // the URL of the database
	url     string // the same through the proxy
	session string
}

// setup returns a fixture, whose manager is configured by adjust, and a context that carries that manager.
func setup(t *testing.T, adjust ...func(*store.Config)) (context.Context, *fixture) {
	t.Helper()
	config := storetest.Config(t)
	_, direct := storetest.Open(t, config)
	f := &fixture{direct: direct, server: config.URL, proxy: newProxy(t, config.URL), session: newSession(t, direct)}
	config.URL = through(config.URL, f.proxy)
	config.AcquireTimeout = 10 * time.Second
	for _, change := range adjust {
		change(&config)
	}
	ctx, manager := storetest.Open(t, config)
	f.Manager, f.url = manager, config.URL
	return ctx, f
}

func newSession(t *testing.T, m *store.Manager) string {
	t.Helper()
	session, err := m.CreateSession(t.Context(), store.CreateSessionParams{Purpose: "faults", CreatedBy: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	return session.ID
}

// newProxy returns a proxy to the server of a database, closed after the test.
func newProxy(t *testing.T, databaseURL string) *faultproxy.Proxy {
	t.Helper()
	proxy, err := faultproxy.Start(address(t, databaseURL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy
}

// address returns where the server of a database listens.
func address(t *testing.T, databaseURL string) (network, address string) {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	return pgconn.NetworkAddress(config.Host, config.Port)
}

// through returns the URL of the same database by way of proxies, the first of them first.
func through(databaseURL string, proxies ...*faultproxy.Proxy) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err) // storetest has made it
	}
	query := u.Query()
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable") // the proxy reads along
	u.RawQuery = query.Encode()
	hosts := make([]string, len(proxies))
	for i, proxy := range proxies {
		hosts[i] = proxy.Addr()
	}
	u.Host = "HOSTS"
	return strings.Replace(u.String(), "HOSTS", strings.Join(hosts, ","), 1)
}

// withParameter adds a parameter to the URL, for instance a setting of the server.
func withParameter(name, value string) func(*store.Config) {
	return func(config *store.Config) { config.URL += "&" + name + "=" + url.QueryEscape(value) }
}

// message is a message with this content.
func message(content, key string) store.NewMessage {
	return store.NewMessage{Sender: "tester", Content: content, IdempotencyKey: key}
}

// count returns how many messages of the session have this content, as the other manager sees them.
func (f *fixture) count(t *testing.T, content string) int64 {
	t.Helper()
	rows, err := store.ExecuteQuery(store.NewContext(t.Context(), f.direct),
		"SELECT count(*) AS n FROM messages WHERE session_id = ? AND content = ?", f.session, content)
	if err != nil {
		t.Fatal(err)
	}
	return rows[0]["n"].(int64)
}

// wantCount fails unless the session holds this message so often.
func (f *fixture) wantCount(t *testing.T, content string, want int64) {
	t.Helper()
	if got := f.count(t, content); got != want {
		t.Errorf("the message %q is there %d times, want %d", content, got, want)
	}
}

// wantWorking fails unless the manager works, without a single error, and no connection is held.
func (f *fixture) wantWorking(t *testing.T) {
	t.Helper()
	for range 20 {
		if _, err := f.GetMessages(t.Context(), readAll(f.session)); err != nil {
			t.Errorf("after the fault: %v", err)
		}
	}
	if stats := f.Stats(); stats.InUse != 0 || stats.OpenConnections > stats.MaxConnections {
		t.Errorf("after the fault: %+v", stats)
	}
}

func readAll(session string) store.GetMessagesParams {
	return store.GetMessagesParams{SessionID: session, Reader: store.Reader{AgentID: "tester", Admin: true}}
}

// wantRetryable fails unless err says that the call may be repeated.
func wantRetryable(t *testing.T, err error) {
	t.Helper()
	if err == nil || !store.IsRetryable(err) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("want a retryable error, got: %v", err)
	}
}

// wantUnknown fails unless err says that nobody knows what happened, in words too.
func wantUnknown(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrOutcomeUnknown) || store.IsRetryable(err) {
		t.Errorf("want an error of unknown outcome, got: %v", err)
		return
	}
	for _, text := range []string{"it is unknown whether", "idempotency key"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q: %v", text, err)
		}
	}
}

// wantCode fails unless err is an error of the server with this SQLSTATE.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != code {
		t.Errorf("want SQLSTATE %s, got: %v", code, err)
	}
}

// eventually waits until done reports true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}
