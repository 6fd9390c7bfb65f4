package fault_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// A statement that the server gives up has written nothing.
func TestServerGivesUpStatement(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]struct {
		set  func(*store.Config)
		code string
	}{
		"statement_timeout": {func(config *store.Config) { config.StatementTimeout = 50 * time.Millisecond }, "57014"},
		"lock_timeout":      {withParameter("lock_timeout", "50ms"), "55P03"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, f := setup(t, limit.set)
			release := blockKeys(t, f)
			_, err := f.AddMessage(ctx, f.session, message("late", ""))
			wantCode(t, err, limit.code)
			wantRetryable(t, err)
			err = f.InTx(ctx, func(ctx context.Context) error {
				_, err := f.AddMessage(ctx, f.session, message("late", ""))
				return err
			})
			wantCode(t, err, limit.code)
			wantRetryable(t, err)
			release()
			f.wantCount(t, "late", 0)
			eventually(t, "the retry succeeds", func() bool { // the limit is short for a machine that is busy
				_, err := f.AddMessage(ctx, f.session, message("late", ""))
				return !store.IsRetryable(err)
			})
			f.wantCount(t, "late", 1)
		})
	}
}

// A transaction that is idle for too long is rolled back, whether a statement or the commit finds that out.
func TestTransactionIsIdle(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t, withParameter("idle_in_transaction_session_timeout", "50ms"), withParameter("application_name", "idler"))
	const others = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'idler'"
	for _, write := range []bool{true, false} {
		err := f.InTx(ctx, func(inside context.Context) error {
			if _, err := f.AddMessage(inside, f.session, message("idle", "")); err != nil {
				return err
			}
			eventually(t, "the server ends the session", func() bool {
				rows, err := store.ExecuteQuery(store.NewContext(ctx, f.direct), others)
				return err == nil && rows[0]["n"] == int64(0)
			})
			if !write {
				return nil
			}
			_, err := f.AddMessage(inside, f.session, message("too late", ""))
			return err
		})
		wantCode(t, err, "25P03")
		wantRetryable(t, err)
	}
	f.wantCount(t, "idle", 0)
	f.wantWorking(t)
}

// A session that an administrator ends in the middle of a statement takes it back, but the server says the same when it
// ends one that has just committed.
func TestSessionIsTerminated(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	terminate := func(text string) {
		<-f.proxy.Cut(text, faultproxy.Never)
		eventually(t, "a session to end", func() bool {
			rows, err := store.ExecuteQuery(store.NewContext(ctx, f.direct), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()`)
			return err == nil && len(rows) > 0
		})
	}
	sleep := func(ctx context.Context, text string) error {
		_, err := store.ExecuteQuery(ctx, "SELECT pg_sleep(600), ?::text", text)
		return err
	}
	var terminating sync.WaitGroup
	defer terminating.Wait()

	terminating.Go(func() { terminate("alone") })
	err := sleep(ctx, "alone")
	wantCode(t, err, "57P01")
	wantUnknown(t, err)

	terminating.Go(func() { terminate("inside") })
	err = f.InTx(ctx, func(ctx context.Context) error { return sleep(ctx, "inside") })
	wantCode(t, err, "57P01")
	wantRetryable(t, err)
	f.wantWorking(t)
}

func TestPoolIsFull(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t, func(config *store.Config) { config.MaxConnections, config.AcquireTimeout = 1, time.Second })
	err := f.InTx(ctx, func(context.Context) error {
		_, err := f.AddMessage(ctx, f.session, message("waiting", "")) // not with the context of the transaction
		wantRetryable(t, err)
		if err == nil || !strings.Contains(err.Error(), "all 1 connections are in use") {
			t.Errorf("got %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := f.AddMessage(ctx, f.session, message("waiting", "")); err != nil {
		t.Error(err)
	}
	f.wantCount(t, "waiting", 1)
}

// The server has no room for another connection until somebody makes some.
func TestServerIsFull(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	const password = "pa55word-of-the-test"
	role := "faults_" + strings.ToLower(rand.Text()[:8])
	direct := store.NewContext(context.WithoutCancel(ctx), f.direct)
	exec := func(sql string) {
		t.Helper()
		if _, err := store.ExecuteUpdate(direct, sql); err != nil {
			t.Error(err)
		}
	}
	exec("CREATE ROLE " + role + " LOGIN CONNECTION LIMIT 0 PASSWORD '" + password + "'")
	t.Cleanup(func() { exec("DROP ROLE " + role) })
	limited, _ := setupAs(t, f, role, password)
	_, err := store.ExecuteQuery(limited, "SELECT 1")
	wantCode(t, err, "53300")
	wantRetryable(t, err)
	exec("ALTER ROLE " + role + " CONNECTION LIMIT -1")
	if _, err := store.ExecuteQuery(limited, "SELECT 1"); err != nil {
		t.Error(err)
	}
}

// setupAs returns a manager for the same database that connects as another user.
func setupAs(t *testing.T, f *fixture, user, password string) (context.Context, *store.Manager) {
	t.Helper()
	u, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return storetest.Open(t, store.Config{URL: u.String(), MinConnections: -1})
}

// A query that needs more temporary space than it may have never succeeds, and harms no other.
func TestTemporaryFilesAreLimited(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t, withParameter("temp_file_limit", "64kB"), withParameter("work_mem", "64kB"))
	_, err := store.ExecuteQuery(ctx, "SELECT count(*) FROM (SELECT g FROM generate_series(1, 100000) g ORDER BY g DESC) AS sorted")
	wantCode(t, err, "53400")
	if store.IsRetryable(err) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("the limit will be there again: %v", err)
	}
	f.wantWorking(t)
}
