package store_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// record writes a row that records reads.
func record(ctx context.Context, text string) error {
	_, err := store.ExecuteUpdate(ctx, "INSERT INTO audit_log (event_type, agent_id) VALUES (?, 'recorder')", text)
	return err
}

// records returns what record has written, in its order.
func records(ctx context.Context, tb testing.TB) []string {
	tb.Helper()
	rows, err := store.ExecuteQuery(ctx, "SELECT event_type FROM audit_log WHERE agent_id = 'recorder' ORDER BY id")
	if err != nil {
		tb.Fatal(err)
	}
	texts := []string{}
	for _, row := range rows {
		texts = append(texts, row["event_type"].(string))
	}
	return texts
}

func wantRecords(ctx context.Context, tb testing.TB, want ...string) {
	tb.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, records(ctx, tb)); diff != "" {
		tb.Errorf("records (-want +got):\n%s", diff)
	}
}

// backend returns the process of the server that serves ctx.
func backend(ctx context.Context, tb testing.TB) int64 {
	tb.Helper()
	return count(ctx, tb, "SELECT pg_backend_pid()::bigint")
}

func TestInTxCommits(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTx(ctx, func(inTx context.Context) error {
		if err := record(inTx, "one"); err != nil {
			return err
		}
		wantRecords(inTx, t, "one")
		wantRecords(ctx, t)
		wantRecords(store.WithoutTx(inTx), t)
		if first, second := backend(inTx, t), backend(inTx, t); first != second {
			t.Error("two calls in one transaction had two connections")
		}
		return record(inTx, "two")
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t, "one", "two")
}

// The transaction carries its manager: InTx needs no context that NewContext has made.
func TestInTxCarriesItsManager(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTx(t.Context(), func(ctx context.Context) error { return record(ctx, "found its way") })
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t, "found its way")
}

//nolint:tparallel // the cases share one connection
func TestInTxRollsBack(t *testing.T) {
	t.Parallel()
	ctx, m, _ := openPool(t, 1)
	before := backend(ctx, t)
	value := new(int)
	cases := map[string]func(t *testing.T){
		"error": func(t *testing.T) {
			t.Helper()
			err := m.InTx(ctx, func(ctx context.Context) error {
				if err := record(ctx, "lost"); err != nil {
					t.Error(err)
				}
				return errFailed
			})
			if err != errFailed {
				t.Errorf("got error %v, want the function's own", err)
			}
		},
		"panic": func(t *testing.T) {
			t.Helper()
			defer func() {
				if got := recover(); got != value {
					t.Errorf("recovered %v, want the function's own %v", got, value)
				}
			}()
			err := m.InTx(ctx, func(ctx context.Context) error {
				if err := record(ctx, "lost"); err != nil {
					t.Error(err)
				}
				panic(value)
			})
			t.Errorf("the panic did not get through: %v", err)
		},
		"Goexit": func(t *testing.T) {
			t.Helper()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = m.InTx(ctx, func(ctx context.Context) error {
					if err := record(ctx, "lost"); err != nil {
						t.Error(err)
					}
					runtime.Goexit()
					return nil
				})
				t.Error("the goroutine went on")
			}()
			<-done
		},
		"context cancelled before the commit": func(t *testing.T) {
			t.Helper()
			ctx, cancel := context.WithCancel(ctx)
			err := m.InTx(ctx, func(ctx context.Context) error {
				err := record(ctx, "lost")
				cancel()
				return err
			})
			wantError(t, err, context.Canceled)
			var database *store.DatabaseError
			if !errors.As(err, &database) || database.Op != "commit" {
				t.Errorf("the error does not say that the commit failed: %v", err)
			}
		},
		"error after the context was cancelled": func(t *testing.T) {
			t.Helper()
			ctx, cancel := context.WithCancel(ctx)
			err := m.InTx(ctx, func(ctx context.Context) error {
				if err := record(ctx, "lost"); err != nil {
					t.Error(err)
				}
				cancel()
				return errFailed
			})
			if err != errFailed {
				t.Errorf("got error %v, want the function's own", err)
			}
		},
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			run(t)
			wantRecords(ctx, t)
			if after := backend(ctx, t); after != before {
				t.Error("the connection was thrown away")
			}
		})
	}
}

// A query that is cancelled costs its connection, which also ends the transaction. Nothing else is to be reported.
func TestInTxCancelledInAQuery(t *testing.T) {
	t.Parallel()
	ctx, m, config := openPool(t, 1)
	g := newGate(t, config)
	for _, depth := range []string{"transaction", "nested transaction"} {
		cancellable, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		var got error
		cancelled := func(ctx context.Context) error {
			if err := record(ctx, "lost"); err != nil {
				t.Error(err)
			}
			_, got = store.ExecuteQuery(ctx, passGate)
			return got
		}
		go func() {
			done <- m.InTx(cancellable, func(ctx context.Context) error {
				if depth == "transaction" {
					return cancelled(ctx)
				}
				return m.InTx(ctx, cancelled)
			})
		}()
		g.await(ctx, t)
		cancel()
		err := <-done
		wantError(t, err, context.Canceled)
		if err != got {
			t.Errorf("%s: got error %v, want the function's own %v", depth, err, got)
		}
		wantRecords(ctx, t)
	}
}

//nolint:tparallel // the cases share one database
func TestNestedTransactions(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, m := storetest.New(t)
	// do records a text and then runs further steps; the last may be an error.
	type step func(ctx context.Context) error
	do := func(steps ...step) step {
		return func(ctx context.Context) error {
			for _, step := range steps {
				if err := step(ctx); err != nil {
					return err
				}
			}
			return nil
		}
	}
	write := func(text string) step { return func(ctx context.Context) error { return record(ctx, text) } }
	nest := func(steps ...step) step { return func(ctx context.Context) error { return m.InTx(ctx, do(steps...)) } }
	ignore := func(inner step) step {
		return func(ctx context.Context) error {
			if inner(ctx) == nil {
				t.Error("the nested transaction did not fail")
			}
			return nil
		}
	}
	fail := func(context.Context) error { return errFailed }
	duplicate := func(ctx context.Context) error {
		_, err := store.ExecuteUpdate(ctx, "INSERT INTO schema_version (version) VALUES (3)")
		return err
	}
	panics := func(context.Context) error { panic("nested") }
	recovers := func(inner step) step {
		return func(ctx context.Context) error { return recovered(func() { _ = inner(ctx) }) }
	}

	cases := map[string]struct {
		run  step
		want []string
	}{
		"both commit":                      {do(write("a"), nest(write("b")), write("c")), []string{"a", "b", "c"}},
		"the inner fails":                  {do(write("a"), ignore(nest(write("b"), fail)), write("c")), []string{"a", "c"}},
		"the inner panics":                 {do(write("a"), ignore(recovers(nest(write("b"), panics))), write("c")), []string{"a", "c"}},
		"the inner fails in the server":    {do(write("a"), ignore(nest(write("b"), duplicate)), write("c")), []string{"a", "c"}},
		"the outer fails":                  {ignore(nest(write("a"), nest(write("b")), fail)), nil},
		"the inner fails and nobody looks": {ignore(nest(write("a"), nest(write("b"), fail))), nil},
		"one after the other": {
			do(nest(write("a")), ignore(nest(write("b"), fail)), nest(write("c"))), []string{"a", "c"},
		},
		"three levels":             {do(write("a"), nest(write("b"), nest(write("c")))), []string{"a", "b", "c"}},
		"the innermost of three":   {do(write("a"), nest(write("b"), ignore(nest(write("c"), fail)), write("d"))), []string{"a", "b", "d"}},
		"the middle one of three":  {do(write("a"), ignore(nest(write("b"), nest(write("c")), fail)), write("d")), []string{"a", "d"}},
		"the outermost of three":   {ignore(nest(write("a"), nest(write("b"), nest(write("c"))), fail)), nil},
		"after a failed savepoint": {do(ignore(nest(duplicate)), nest(write("a"), nest(write("b")))), []string{"a", "b"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := store.ExecuteUpdate(ctx, "DELETE FROM audit_log"); err != nil {
				t.Fatal(err)
			}
			if err := m.InTx(ctx, c.run); err != nil {
				t.Fatal(err)
			}
			wantRecords(ctx, t, c.want...)
		})
	}
}

// The typed operations take part as the statements do.
func TestInTxWithOperations(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	var session store.Session
	err := m.InTx(ctx, func(inTx context.Context) error {
		session = newSession(inTx, t, m)
		if _, err := m.GetSession(inTx, session.ID, alice); err != nil {
			t.Errorf("inside: %v", err)
		}
		_, err := m.GetSession(ctx, session.ID, alice)
		wantError(t, err, store.ErrSessionNotFound)
		return errFailed
	})
	wantError(t, err, errFailed)
	_, err = m.GetSession(ctx, session.ID, alice)
	wantError(t, err, store.ErrSessionNotFound)
	if rows := count(ctx, t, "SELECT count(*) FROM audit_log"); rows != 0 {
		t.Errorf("%d audit rows of what was rolled back", rows)
	}
}

func TestTransactionsOfTwoManagers(t *testing.T) {
	t.Parallel()
	ctx, first := storetest.New(t)
	otherCtx, second := storetest.New(t)
	err := first.InTx(ctx, func(inFirst context.Context) error {
		err := second.InTx(inFirst, func(inBoth context.Context) error {
			if m, _ := store.FromContext(inBoth); m != second {
				t.Error("the inner transaction does not carry its own manager")
			}
			if err := record(inBoth, "second"); err != nil {
				t.Error(err)
			}
			// The first manager finds its transaction behind the second one's.
			if err := record(store.NewContext(inBoth, first), "first"); err != nil {
				t.Error(err)
			}
			wantRecords(store.NewContext(inBoth, first), t, "first")
			wantRecords(inBoth, t, "second")
			wantRecords(ctx, t)
			return first.InTx(inBoth, func(ctx context.Context) error { return record(ctx, "nested in the first") })
		})
		if err != nil {
			t.Error(err)
		}
		wantRecords(otherCtx, t, "second")
		wantRecords(ctx, t)
		return errFailed
	})
	wantError(t, err, errFailed)
	wantRecords(ctx, t)
	wantRecords(otherCtx, t, "second")
}

func TestWithoutTx(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTx(ctx, func(inTx context.Context) error {
		if err := record(inTx, "lost"); err != nil {
			t.Error(err)
		}
		outside := store.WithoutTx(inTx)
		if backend(outside, t) == backend(inTx, t) {
			t.Error("the same connection")
		}
		if m2, _ := store.FromContext(outside); m2 != m {
			t.Error("the manager is gone from the context")
		}
		if err := m.InTx(outside, func(ctx context.Context) error { return record(ctx, "kept") }); err != nil {
			t.Error(err)
		}
		wantRecords(outside, t, "kept")
		return errFailed
	})
	wantError(t, err, errFailed)
	wantRecords(ctx, t, "kept")
}

func TestCommitAfterAStatementFailed(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTx(ctx, func(ctx context.Context) error {
		if err := record(ctx, "lost"); err != nil {
			t.Error(err)
		}
		if _, err := store.ExecuteQuery(ctx, "SELECT 1/0"); sqlState(err) != "22012" {
			t.Errorf("got error %v, want a division by zero", err)
		}
		return nil
	})
	var database *store.DatabaseError
	if !errors.As(err, &database) || database.Op != "commit" {
		t.Fatalf("got error %v, want a DatabaseError of the commit", err)
	}
	const want = "commit: commit unexpectedly resulted in rollback: a statement in it had failed"
	if err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	wantRecords(ctx, t)
}

// A nested transaction whose failed statement was ignored fails, and leaves the outer one usable.
func TestNestedTransactionIgnoresItsFailure(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	err := f.InTx(ctx, func(ctx context.Context) error {
		nested := f.InTx(ctx, func(ctx context.Context) error {
			if _, err := store.ExecuteQuery(ctx, "SELECT 1/0"); err == nil {
				t.Error("a division by zero succeeds")
			}
			return nil
		})
		if nested == nil || !strings.Contains(nested.Error(), "a statement in it had failed") {
			t.Errorf("the nested transaction gives %v", nested)
		}
		_, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "alice", Content: "after"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}
