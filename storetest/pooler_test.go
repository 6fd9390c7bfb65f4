package storetest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/pgbouncer"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// The address that tests get is that of a pooler in transaction mode: two managers with a connection each are served by
// the same process of the server. That of the server itself is beside it.
func TestPoolerOfTheEnvironment(t *testing.T) {
	if _, _, err := pgbouncer.Version(t.Context()); errors.Is(err, pgbouncer.ErrNotInstalled) {
		t.Skip(err)
	}
	t.Setenv("STORETEST_PGBOUNCER", "1")
	config := storetest.Config(t)
	config.PoolSize = 1
	const pid = "SELECT pg_backend_pid()::bigint"
	first, _ := storetest.Open(t, config)
	second, _ := storetest.Open(t, config)
	if a, b := ask[int64](first, t, pid), ask[int64](second, t, pid); a != b {
		t.Errorf("two clients one after the other have the processes %d and %d", a, b)
	}

	database := currentDatabase(first, t)
	config.URL, config.DirectURL = config.DirectURL, ""
	direct, m := storetest.Open(t, config)
	beside, _ := storetest.Open(t, config)
	if a, b := ask[int64](direct, t, pid), ask[int64](beside, t, pid); a == b {
		t.Errorf("two clients of the server have the same process %d", a)
	}
	if got := currentDatabase(direct, t); got != database {
		t.Errorf("the server's address is that of database %s, the pooler's of %s", got, database)
	}
	if err := m.InitializeDatabase(direct); err != nil {
		t.Error(err)
	}

	t.Setenv("STORETEST_PGBOUNCER", "false")
	if config := storetest.Config(t); config.DirectURL != "" {
		t.Errorf("without a pooler the configuration is %v", config)
	}
	text, err := startChild(t, "STORETEST_PGBOUNCER=perhaps").exit()
	if err == nil || !strings.Contains(text, `STORETEST_PGBOUNCER="perhaps"`) {
		t.Errorf("perhaps: %v, and this does not name the variable:\n%s", err, text)
	}
}
