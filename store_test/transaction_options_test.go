package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// writeSkew runs a transaction that, in its first run, lets another one read and write what it reads and writes. Either
// may write only where nothing is, so that a database which lets both commit is wrong.
func writeSkew(ctx context.Context, m *store.Manager, options store.TxOptions) (runs int, err error) {
	onlyOne := func(ctx context.Context, text string, between func()) error {
		rows, err := store.ExecuteQuery(ctx, "SELECT FROM audit_log WHERE agent_id = 'recorder'")
		if err != nil {
			return err
		}
		between()
		if len(rows) > 0 {
			return nil
		}
		return record(ctx, text)
	}
	err = m.InTxOptions(ctx, options, func(ctx context.Context) error {
		runs++
		var other error
		err := onlyOne(ctx, "first", func() {
			if runs == 1 {
				serializable := store.TxOptions{Isolation: pgx.Serializable}
				other = m.InTxOptions(store.WithoutTx(ctx), serializable, func(ctx context.Context) error {
					return onlyOne(ctx, "second", func() {})
				})
			}
		})
		return errors.Join(err, other)
	})
	return runs, err
}

func TestSerializationFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		retries, runs int
		state         string
	}{
		"not retried": {retries: 0, runs: 1, state: "40001"},
		"retried":     {retries: 3, runs: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, m := storetest.New(t)
			runs, err := writeSkew(ctx, m, store.TxOptions{Isolation: pgx.Serializable, Retries: c.retries})
			if sqlState(err) != c.state || (err == nil) != (c.state == "") {
				t.Errorf("got error %v, want SQLSTATE %q", err, c.state)
			}
			var database *store.DatabaseError
			if err != nil && !errors.As(err, &database) {
				t.Errorf("%T is no DatabaseError", err)
			}
			if runs != c.runs {
				t.Errorf("the function ran %d times, want %d", runs, c.runs)
			}
			wantRecords(ctx, t, "second")
		})
	}
}

func TestDeadlockIsRetried(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	var both, running sync.WaitGroup // both: to hold their first lock
	both.Add(2)
	runs, errs := [2]int{}, [2]error{}
	for i := range 2 {
		running.Go(func() {
			errs[i] = m.InTxOptions(ctx, store.TxOptions{Retries: 5}, func(ctx context.Context) error {
				runs[i]++
				lock := func(key int) error {
					_, err := store.ExecuteQuery(ctx, "SELECT 1 FROM pg_advisory_xact_lock(?::bigint)", key)
					return err
				}
				if err := lock(i); err != nil {
					return err
				}
				if runs[i] == 1 {
					both.Done()
					both.Wait()
				}
				return lock(1 - i)
			})
		})
	}
	running.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
	if runs[0]+runs[1] < 3 {
		t.Errorf("the functions ran %v times: there was no deadlock", runs)
	}
}

func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	conflict := &pgconn.PgError{Code: "40001"}
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		runs int
	}{
		"with the last one":        {ctx, conflict, 3},
		"with another error":       {ctx, errFailed, 1},
		"when the context is done": {cancelled, conflict, 1},
	} {
		runs := 0
		err := m.InTxOptions(c.ctx, store.TxOptions{Retries: 2}, func(context.Context) error {
			runs++
			if c.ctx == cancelled {
				cancel()
			}
			return c.err
		})
		wantError(t, err, c.err)
		if runs != c.runs {
			t.Errorf("%s: %d runs, want %d", name, runs, c.runs)
		}
	}
}

func TestReadOnlyTransaction(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTxOptions(ctx, store.TxOptions{ReadOnly: true}, func(ctx context.Context) error {
		wantRecords(ctx, t)
		return record(ctx, "refused")
	})
	if sqlState(err) != "25006" {
		t.Errorf("got error %v, want read_only_sql_transaction", err)
	}
	wantRecords(ctx, t)
	if err := record(ctx, "the next one writes"); err != nil {
		t.Error(err)
	}
}

func TestIsolation(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	for level, want := range map[pgx.TxIsoLevel]string{
		"": "read committed", pgx.RepeatableRead: "repeatable read", pgx.Serializable: "serializable",
	} {
		err := m.InTxOptions(ctx, store.TxOptions{Isolation: level}, func(ctx context.Context) error {
			rows, err := store.ExecuteQuery(ctx, "SHOW transaction_isolation")
			if err == nil && rows[0]["transaction_isolation"] != want {
				t.Errorf("isolation %q is %v, want %s", level, rows[0]["transaction_isolation"], want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestNestedTransactionRefusesOptions(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTx(ctx, func(ctx context.Context) error {
		for _, options := range []store.TxOptions{{Isolation: pgx.Serializable}, {ReadOnly: true}, {Retries: 1}} {
			err := m.InTxOptions(ctx, options, func(context.Context) error {
				t.Error("the function ran")
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), "outermost") {
				t.Errorf("%+v: got error %v", options, err)
			}
		}
		return m.InTxOptions(ctx, store.TxOptions{}, func(ctx context.Context) error { return record(ctx, "without options") })
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t, "without options")
}
