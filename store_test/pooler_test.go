package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/internal/pgbouncer"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// startPooler puts a PgBouncer before the server of a configuration, and returns it and its address of the database, which
// does not say that it is that of a pooler.
func startPooler(t *testing.T, config store.Config, options pgbouncer.Options) (*pgbouncer.Pooler, string) {
	t.Helper()
	options.Server = config.URL
	pooler, err := pgbouncer.Start(t.Context(), options)
	if errors.Is(err, pgbouncer.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	server, err := pgx.ParseConfig(options.Server)
	if err != nil {
		t.Fatal(err)
	}
	return pooler, pooler.URL(server.Database)
}

// wantRetryable fails unless this is what the store says of an error, which leaves nothing open.
func wantRetryable(t *testing.T, err error, want bool) {
	t.Helper()
	if store.IsRetryable(err) != want || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("retryable: %t, want %t: %v", !want, want, err)
	}
}

const declared = "&pgbouncer=true"

// tolerant lets a pooler accept what a store sends that does not know of it.
var tolerant = map[string]string{"ignore_startup_parameters": "statement_timeout"}

// keepsStatements reports whether PgBouncer follows prepared statements from connection to connection where it is told to.
func keepsStatements(t *testing.T) bool {
	t.Helper()
	major, minor, err := pgbouncer.Version(t.Context())
	if errors.Is(err, pgbouncer.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return major > 1 || minor >= 21
}

func with(settings map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for name, value := range settings {
		all[name] = value
	}
	return all
}

// 200 agents in 10 processes share 5 connections of the server. Nothing fails, and each message is there once, in its
// agent's order, with its audit row.
func TestManyAgentsThroughPooler(t *testing.T) {
	t.Parallel()
	const processes, agents, each, connections = 10, 20, 10, 5
	config := withoutPooler(storetest.Config(t))
	pooler, pooled := startPooler(t, config, pgbouncer.Options{PoolSize: connections})
	server := connect(t, config)
	config.URL, config.DirectURL = pooled+declared, config.URL

	ctx, first := storetest.Open(t, config)
	session := newSession(ctx, t, first)
	group, running := errgroup.WithContext(ctx)
	var senders []string
	for process := range processes {
		_, m := storetest.Open(t, config)
		f := fixture{m, session}
		for agent := range agents {
			sender := fmt.Sprintf("agent_%d_%d", process, agent)
			senders = append(senders, sender)
			group.Go(func() error {
				if agent%3 < 2 {
					return f.write(running, sender, each, agent%3 == 0)
				}
				return m.InTx(running, func(ctx context.Context) error { return f.write(ctx, sender, each, false) })
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(written(senders, each), fixture{first, session}.contentsBySender(ctx, t)); diff != "" {
		t.Errorf("messages by sender (-want +got):\n%s", diff)
	}
	audit := count(ctx, t, "SELECT count(DISTINCT metadata->'message_id') FROM audit_log WHERE event_type = 'message_added'")
	if audit != processes*agents*each {
		t.Errorf("%d messages have an audit row, want %d", audit, processes*agents*each)
	}
	// The pooler keeps its connections, so that these are all it ever had.
	if n := ask[int](t, server, otherConnections); n < 1 || n > connections {
		t.Errorf("the server has %d connections of the pooler, want 1 to %d", n, connections)
	}
	clients, err := pooler.Console(ctx, "SHOW CLIENTS")
	if err != nil {
		t.Fatal(err)
	}
	if len(clients) <= connections {
		t.Errorf("the pooler has %d clients, which is no crowd", len(clients))
	}
}

// occupy makes a pooler open this many connections to its server.
func occupy(t *testing.T, pooled string, n int) {
	t.Helper()
	conns := make([]*pgx.Conn, n)
	for i := range conns {
		conns[i] = connect(t, store.Config{URL: pooled})
		exec1(t, conns[i], "BEGIN")
	}
	for _, conn := range conns {
		exec1(t, conn, "ROLLBACK")
	}
}

// What needs a session says so before it does anything, whether the address tells that it is a pooler's or not.
func TestMigrationNeedsSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		parameters string
		settings   map[string]string
		open       int // connections to the server
	}{
		"declared":                    {declared, nil, 1},
		"without prepared statements": {"&statement_cache_size=0", nil, 1},
		"undeclared":                  {"", tolerant, 1},
		"of two connections":          {"", tolerant, 2},
		"two connections in turn":     {"", with(tolerant, "server_round_robin", "1"), 2},
		"three connections in turn":   {"", with(tolerant, "server_round_robin", "1"), 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := withoutPooler(storetest.EmptyConfig(t))
			_, pooled := startPooler(t, config, pgbouncer.Options{PoolSize: c.open, Settings: c.settings})
			occupy(t, pooled, c.open)
			server := connect(t, config)
			direct := config.URL
			config.URL = pooled + c.parameters
			ctx, m := storetest.Open(t, config)
			bounded, cancel := context.WithTimeout(ctx, patience)
			defer cancel()

			texts := []string{"DATABASE_URL leads to a pooler in transaction mode", "set DIRECT_DATABASE_URL to the address of the server itself"}
			wantSchemaError(t, m.InitializeDatabase(bounded), texts...)
			_, err := store.OpenMigrator(bounded, config)
			wantSchemaError(t, err, append(texts, "migrate: ")...)
			if c.parameters == "" {
				config.URL, config.DirectURL = direct, pooled
				_, err := store.OpenMigrator(bounded, config)
				wantSchemaError(t, err, "migrate: ", "DIRECT_DATABASE_URL leads to a pooler in transaction mode")
			}
			if locks := ask[int](t, server, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"); locks > 0 {
				t.Errorf("%d advisory locks are left in the pooler", locks)
			}
			if ask[bool](t, server, "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace)") {
				t.Error("the database was changed")
			}

			// With a session of the server's the migration runs, and nobody needs one afterwards.
			config.URL, config.DirectURL = direct, ""
			_, migrating := storetest.Open(t, config)
			if err := migrating.InitializeDatabase(ctx); err != nil {
				t.Fatal(err)
			}
			config.URL = pooled + declared
			_, m = storetest.Open(t, config)
			if err := m.InitializeDatabase(ctx); err != nil {
				t.Errorf("up to date: %v", err)
			}
		})
	}
}

// Followers ask where LISTEN would go through a pooler of which nobody has told, and the log says why.
func TestFollowThroughUndeclaredPooler(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.Config(t))
	_, pooled := startPooler(t, config, pgbouncer.Options{})
	writing, writer := storetest.Open(t, config)
	f := fixture{writer, newSession(writing, t, writer)}
	log := new(logBuffer)
	config.URL, config.Logger = pooled+"&statement_cache_size=0", slog.New(slog.NewTextHandler(log, nil))
	ctx, reader := storetest.Open(t, config)
	following := followSession(ctx, t, reader, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	for _, content := range []string{"one", "two"} {
		f.add(writing, t, store.NewMessage{Sender: "bob", Content: content})
		if got := textsOf(following.next(1)); got[0] != content {
			t.Errorf("followed %q, want %q", got, content)
		}
	}
	eventually(t, patience, "the log says so", func() bool {
		return strings.Contains(log.String(), "ask for news instead of being told: DATABASE_URL leads to a pooler in transaction mode") &&
			strings.Contains(log.String(), "set DIRECT_DATABASE_URL")
	})
	if n := count(writing, t, listeners); n != 0 {
		t.Errorf("%d connections listen", n)
	}
}

// Through a pooler in session mode everything works as on the server itself.
func TestMigrationThroughSessionPooler(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.EmptyConfig(t))
	_, pooled := startPooler(t, config, pgbouncer.Options{Settings: with(tolerant, "pool_mode", "session")})
	server := connect(t, config)
	config.URL = pooled
	ctx, m := storetest.Open(t, config)
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
	wantComplete(ctx, t, server, m)
	buildSearchIndex(ctx, t, config)
	session := newSession(ctx, t, m)
	if _, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "hello"}); err != nil {
		t.Error(err)
	}
}

// A statement cache that is switched off is no proof of a pooler: on the server itself migrations run all the same.
func TestMigrationWithoutStatementCache(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.EmptyConfig(t))
	u, err := url.Parse(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("statement_cache_size", "0")
	u.RawQuery = query.Encode()
	config.URL = u.String()
	ctx, m := storetest.Open(t, config)
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Error(err)
	}
}

// A pooler that is not known for one is named as the likely reason of what it does.
func TestUndeclaredPooler(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.Config(t))

	t.Run("refuses a parameter", func(t *testing.T) {
		t.Parallel()
		_, pooled := startPooler(t, config, pgbouncer.Options{})
		config := config
		config.URL = pooled
		wantPoolerRefusal := func(address, parameter string) {
			t.Helper()
			config.URL = address
			ctx, m := storetest.Open(t, config)
			_, err := store.ExecuteQuery(ctx, "SELECT 1")
			wantConnectionError(t, err, "execute query: ", "startup parameter: "+parameter, "add pgbouncer=true", "ALTER ROLE")
			wantRetryable(t, err, false)
			wantConnectionError(t, m.InitializeDatabase(ctx), "add pgbouncer=true")
			wantUnhealthy(ctx, t, "add pgbouncer=true")
		}
		wantPoolerRefusal(pooled, "statement_timeout")
		wantPoolerRefusal(pooled+declared+"&search_path=service", "search_path")
	})
	t.Run("has no transactions", func(t *testing.T) {
		t.Parallel()
		_, pooled := startPooler(t, config, pgbouncer.Options{Settings: map[string]string{"pool_mode": "statement"}})
		config := config
		config.URL = pooled + declared
		ctx, m := storetest.Open(t, config)
		err := m.InTx(ctx, func(context.Context) error { return nil })
		wantConnectionError(t, err, "begin: ", "set pool_mode of the pooler to transaction")
	})
	t.Run("changes the connection under a prepared statement", func(t *testing.T) {
		t.Parallel()
		settings := tolerant
		if keepsStatements(t) {
			settings = with(tolerant, "max_prepared_statements", "0")
		}
		pooler, pooled := startPooler(t, config, pgbouncer.Options{Settings: settings, PoolSize: 1})
		config := config
		config.URL, config.PoolSize, config.ExecMode = pooled, 1, store.ExecModeCacheStatement
		ctx, _ := storetest.Open(t, config)
		other, _ := storetest.Open(t, config)
		if _, err := store.ExecuteQuery(ctx, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		_, err := store.ExecuteQuery(other, "SELECT 1")
		if sqlState(err) != "42P05" || !strings.Contains(err.Error(), "add pgbouncer=true") {
			t.Errorf("a statement that is there already: %v", err)
		}
		if _, err := pooler.Console(ctx, "RECONNECT"); err != nil {
			t.Fatal(err)
		}
		_, err = store.ExecuteQuery(ctx, "SELECT 1")
		if sqlState(err) != "26000" || !strings.Contains(err.Error(), "add pgbouncer=true") {
			t.Errorf("a statement that is gone: %v", err)
		}
	})
}

// A pooler that has no connection left says so, and so does the error.
func TestPoolerExhausted(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.Config(t))
	t.Run("to the server", func(t *testing.T) {
		t.Parallel()
		config := config
		_, pooled := startPooler(t, config, pgbouncer.Options{PoolSize: 1, Settings: map[string]string{"query_wait_timeout": "1"}})
		config.URL = pooled + declared
		ctx, m := storetest.Open(t, config)
		err := m.InTx(ctx, func(inside context.Context) error {
			if _, err := store.ExecuteQuery(inside, "SELECT 1"); err != nil {
				return err
			}
			_, err := store.ExecuteQuery(ctx, "SELECT 1")
			wantConnectionError(t, err, "query_wait_timeout", "default_pool_size")
			wantRetryable(t, err, true)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if _, err := store.ExecuteQuery(ctx, "SELECT 1"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("of clients", func(t *testing.T) {
		t.Parallel()
		config := config
		_, pooled := startPooler(t, config, pgbouncer.Options{Settings: map[string]string{"max_client_conn": "1"}})
		config.URL = pooled + declared
		ctx, m := storetest.Open(t, config)
		err := m.InTx(ctx, func(inside context.Context) error {
			if _, err := store.ExecuteQuery(inside, "SELECT 1"); err != nil {
				return err
			}
			_, err := store.ExecuteQuery(ctx, "SELECT 1")
			wantConnectionError(t, err, "no more connections allowed", "DATABASE_MAX_CONNECTIONS", "max_client_conn of the pooler")
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// What the pooler says for a server that it cannot reach, or that refuses it, comes with what to do.
func TestPoolerWithoutServer(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	config := server.config("postgres", secret)
	_, pooled := startPooler(t, config, pgbouncer.Options{Settings: map[string]string{"query_wait_timeout": "1", "server_login_retry": "1"}})
	config.URL = pooled + declared
	for change, texts := range map[[2]string][]string{
		{"/postgres?", "/missing?"}:   {"create the database"},
		{"//postgres@", "//unknown@"}: {"no such user", "auth_file"},
	} {
		wrong := config
		wrong.URL = strings.Replace(pooled, change[0], change[1], 1) + declared
		ctx, _ := storetest.Open(t, wrong)
		_, err := store.ExecuteQuery(ctx, "SELECT 1")
		wantConnectionError(t, err, append(texts, "DATABASE_URL")...)
		wantRetryable(t, err, false)
	}

	ctx, m := storetest.Open(t, config)
	if _, err := store.ExecuteQuery(ctx, "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	server.stop(t)
	_, err := store.ExecuteQuery(ctx, "SELECT 1") // waits for the pooler to give up
	wantConnectionError(t, err, "the statement was not run")
	wantRetryable(t, err, true)
	_, err = store.ExecuteQuery(ctx, "SELECT 1")
	wantConnectionError(t, err, "server_login_retry", "the statement was not run")
	wantRetryable(t, err, true)
	wantUnhealthy(ctx, t, "the statement was not run")
	server.start(t)
	eventually(t, patience, "the manager works again", func() bool {
		_, err := store.ExecuteQuery(ctx, "SELECT 1")
		if err != nil {
			wantConnectionError(t, err)
		}
		return err == nil
	})
	wantIdle(t, m)
}

// A pooler that is started anew costs the calls of that moment, and none later.
func TestPoolerRestarts(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.Config(t))
	pooler, pooled := startPooler(t, config, pgbouncer.Options{})
	config.URL = pooled + declared
	ctx, m := storetest.Open(t, config)
	session := newSession(ctx, t, m)
	if err := pooler.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the manager works again", func() bool {
		_, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "back"})
		if err != nil {
			wantConnectionError(t, err)
		}
		return err == nil
	})
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// A call that is given up does not keep one of the few connections behind a pooler: its statement ends on the server.
func TestCancelThroughPooler(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.Config(t))
	_, pooled := startPooler(t, config, pgbouncer.Options{PoolSize: 1})
	server := connect(t, config)
	config.URL = pooled + declared
	ctx, m := storetest.Open(t, config)
	const asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
	sleeps := map[string]func(ctx context.Context) error{
		"statement": func(ctx context.Context) error { _, err := store.ExecuteQuery(ctx, "SELECT pg_sleep(600)"); return err },
		"transaction": func(ctx context.Context) error {
			return m.InTx(ctx, func(ctx context.Context) error { _, err := store.ExecuteQuery(ctx, "SELECT pg_sleep(600)"); return err })
		},
	}
	for name, sleep := range sleeps {
		cancelled, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- sleep(cancelled) }()
		awaitNumber(ctx, t, server, 1, asleep)
		cancel()
		wantError(t, <-ended, context.Canceled)
		awaitNumber(ctx, t, server, 0, asleep)
		if _, err := store.ExecuteQuery(ctx, "SELECT 1"); err != nil {
			t.Errorf("after a %s: %v", name, err)
		}
	}
}

// PgBouncer from 1.21 on can follow prepared statements from connection to connection.
func TestPreparedStatementsThroughPooler(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.Config(t))
	if !keepsStatements(t) {
		t.Skip("PgBouncer before 1.21 does not know max_prepared_statements")
	}
	_, pooled := startPooler(t, config, pgbouncer.Options{PoolSize: 2, Settings: map[string]string{"max_prepared_statements": "10"}})
	config.URL, config.ExecMode = pooled+declared, store.ExecModeCacheStatement
	ctx, m := storetest.Open(t, config)
	session := newSession(ctx, t, m)
	f := fixture{m, session}
	group, running := errgroup.WithContext(ctx)
	for agent := range 20 {
		group.Go(func() error { return f.write(running, fmt.Sprintf("agent_%d", agent), 10, agent%2 == 0) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 200 {
		t.Errorf("%d messages, want 200", n)
	}
}
