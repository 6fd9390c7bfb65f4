package store_test

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// fixture is a database with one session in it.
type fixture struct {
	*store.Manager
	session store.Session
}

// admin and alice are readers that many tests use.
var (
	admin = store.Reader{AgentID: "root", Admin: true}
	alice = store.Reader{AgentID: "alice", AgentType: "claude"}
)

const (
	// unknownSession is an id that no session has.
	unknownSession = "session_0000000000000000"
	// invalid bytes that no text may hold.
	invalidUTF8 = "a\xffb"
)

func setup(tb testing.TB) (context.Context, fixture) {
	tb.Helper()
	ctx, manager := storetest.New(tb)
	return ctx, fixture{manager, newSession(ctx, tb, manager)}
}

// serverURL returns the address of the server itself.
func serverURL(config store.Config) string { return cmp.Or(config.DirectURL, config.URL) }

// withoutPooler leads a configuration to the server itself.
func withoutPooler(config store.Config) store.Config {
	config.URL, config.DirectURL = serverURL(config), ""
	return config
}

// throughPooler reports whether STORETEST_PGBOUNCER has put a pooler before the server.
func throughPooler(config store.Config) bool {
	return config.DirectURL != "" && os.Getenv("STORETEST_PGBOUNCER") != ""
}

// execModes are the modes that work with a configuration: a pooler takes prepared statements away.
func execModes(config store.Config) []store.ExecMode {
	modes := []store.ExecMode{store.ExecModeCacheDescribe, store.ExecModeExec, store.ExecModeSimpleProtocol}
	if throughPooler(config) {
		return modes
	}
	return append(modes, store.ExecModeCacheStatement)
}

// inMode returns a configuration in another mode. It skips what execModes leaves out.
func inMode(t *testing.T, config store.Config, mode store.ExecMode) store.Config {
	t.Helper()
	if mode != store.ExecModeAuto && !slices.Contains(execModes(config), mode) {
		t.Skip("a pooler takes prepared statements away")
	}
	config.ExecMode = mode
	return config
}

func newSession(ctx context.Context, tb testing.TB, m *store.Manager) store.Session {
	tb.Helper()
	session, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "test", CreatedBy: "alice"})
	if err != nil {
		tb.Fatal(err)
	}
	return session
}

// add adds messages to the fixture's session.
func (f fixture) add(ctx context.Context, tb testing.TB, messages ...store.NewMessage) []store.Message {
	tb.Helper()
	added, err := f.AddMessages(ctx, f.session.ID, messages)
	if err != nil {
		tb.Fatal(err)
	}
	return added
}

// count returns the single number that a query gives.
func count(ctx context.Context, tb testing.TB, sql string, params ...any) int64 {
	tb.Helper()
	rows, err := store.ExecuteQuery(ctx, sql, params...)
	if err != nil {
		tb.Fatal(err)
	}
	if len(rows) != 1 {
		tb.Fatalf("%s: %d rows, want 1", sql, len(rows))
	}
	for _, value := range rows[0] {
		return value.(int64)
	}
	tb.Fatalf("%s: no column", sql)
	return 0
}

// wantInvalid fails unless err refuses this field.
func wantInvalid(tb testing.TB, err error, field string) {
	tb.Helper()
	var invalid *store.ValidationError
	if !errors.As(err, &invalid) {
		tb.Fatalf("got error %v, want a ValidationError for %s", err, field)
	}
	if invalid.Field != field {
		tb.Errorf("the error is about field %q, want %q: %v", invalid.Field, field, err)
	}
	if invalid.Rule == "" || invalid.Limit == "" {
		tb.Errorf("the error names no rule or no limit: %v", err)
	}
}

// wantError fails unless err is target.
func wantError(tb testing.TB, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Fatalf("got error %v, want %v", err, target)
	}
}

// needsOwner skips a test that does what the role of a service has no right to, where the tests run as one.
func needsOwner(tb testing.TB, does string) {
	tb.Helper()
	if os.Getenv("STORETEST_ROLE") == "service" {
		tb.Skip("STORETEST_ROLE=service: it " + does)
	}
}

func ptr[T any](value T) *T { return &value }

// ignore returns err unless it is the expected one.
func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// wantIdle waits until all connections are given back: what tells followers may still have one for a moment.
func wantIdle(tb testing.TB, m *store.Manager) {
	tb.Helper()
	eventually(tb, 10*time.Second, "no connection is in use", func() bool { return m.Stats().InUse == 0 })
}
