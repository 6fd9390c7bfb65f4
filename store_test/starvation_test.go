package store_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

var errFailed = errors.New("the function failed")

// Whatever goes wrong, the connection comes back: the pool has only one.
//
//nolint:tparallel // the cases share one connection
func TestNoFailureKeepsItsConnection(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	ctx, m, config := openPool(t, 1)
	session := newSession(ctx, t, m)
	if _, err := store.ExecuteUpdate(ctx, "CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	atGate := newGate(t, config)
	cancelAtGate := func(t *testing.T, call func(ctx context.Context) error) error {
		t.Helper()
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- call(ctx) }()
		atGate.await(ctx, t)
		cancel()
		return <-done
	}
	terminate := func(ctx context.Context) error {
		_, err := store.ExecuteUpdate(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
		return err
	}

	failures := map[string]func(t *testing.T) error{
		"validation": func(*testing.T) error {
			_, err := m.CreateSession(ctx, store.CreateSessionParams{})
			return err
		},
		"unique violation": func(*testing.T) error {
			_, err := store.ExecuteInsert(ctx, "INSERT INTO sessions (id, purpose, created_by) VALUES (?, 'x', 'x')", session.ID)
			return err
		},
		"value that cannot be encoded": func(*testing.T) error {
			_, err := store.ExecuteQuery(ctx, "SELECT ?::int", "many")
			return err
		},
		"context cancelled before": func(*testing.T) error {
			_, err := store.ExecuteQuery(cancelled, "SELECT 1")
			return err
		},
		"context cancelled before the transaction": func(*testing.T) error {
			return m.InTx(cancelled, func(context.Context) error { return nil })
		},
		"context cancelled in a query": func(t *testing.T) error {
			t.Helper()
			return cancelAtGate(t, func(ctx context.Context) error { _, err := store.ExecuteQuery(ctx, passGate); return err })
		},
		"context cancelled in a transaction": func(t *testing.T) error {
			t.Helper()
			return cancelAtGate(t, func(ctx context.Context) error {
				return m.InTx(ctx, func(ctx context.Context) error { _, err := store.ExecuteQuery(ctx, passGate); return err })
			})
		},
		"error in the function": func(*testing.T) error {
			return m.InTx(ctx, func(context.Context) error { return errFailed })
		},
		"error in a nested function": func(*testing.T) error {
			return m.InTx(ctx, func(ctx context.Context) error {
				return m.InTx(ctx, func(context.Context) error { return errFailed })
			})
		},
		"panic": func(*testing.T) error {
			return recovered(func() { _ = m.InTx(ctx, func(context.Context) error { panic("panic") }) })
		},
		"panic in a nested function": func(*testing.T) error {
			return recovered(func() {
				_ = m.InTx(ctx, func(ctx context.Context) error {
					return m.InTx(ctx, func(context.Context) error { panic("panic") })
				})
			})
		},
		"Goexit": func(*testing.T) error {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = m.InTx(ctx, func(context.Context) error { runtime.Goexit(); return nil })
			}()
			<-done
			return errFailed
		},
		"commit refused": func(*testing.T) error {
			return m.InTx(ctx, func(ctx context.Context) error {
				_, err := store.ExecuteUpdate(ctx, "INSERT INTO late VALUES (1), (1)")
				if err != nil {
					t.Errorf("failed before the commit: %v", err)
				}
				return nil
			})
		},
		"statement failed, error ignored": func(*testing.T) error {
			return m.InTx(ctx, func(ctx context.Context) error { _, _ = store.ExecuteQuery(ctx, "SELECT 1/0"); return nil })
		},
		"rows left open": func(*testing.T) error {
			return store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
				rows, err := conn.Query(ctx, "SELECT generate_series(1, 1000)")
				if err == nil {
					rows.Next()
				}
				return err
			})
		},
		"connection lost":                  func(*testing.T) error { return terminate(ctx) },
		"connection lost in a transaction": func(*testing.T) error { return m.InTx(ctx, terminate) },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			if err := fail(t); err == nil {
				t.Error("it did not fail")
			}
			// The pool throws a broken connection away in the background.
			bounded, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			for m.Stats().InUse > 0 && bounded.Err() == nil {
				runtime.Gosched()
			}
			if _, err := store.ExecuteQuery(bounded, "SELECT 1"); err != nil {
				t.Errorf("the next call: %v", err)
			}
			if stats := m.Stats(); stats.InUse != 0 || stats.OpenConnections != 1 {
				t.Errorf("the pool afterwards: %+v", stats)
			}
		})
	}
}

// recovered returns what a function panics with, as an error.
func recovered(fn func()) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = errors.New("recovered")
		}
	}()
	fn()
	return nil
}

// sqlState returns the code of the server's error in err, "" when there is none.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
