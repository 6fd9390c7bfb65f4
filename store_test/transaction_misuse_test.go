package store_test

import (
	"context"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// uses are the ways to use the transaction of a context.
var uses = map[string]func(ctx context.Context, m *store.Manager) error{
	"operation": func(ctx context.Context, m *store.Manager) error {
		_, err := m.GetSession(ctx, unknownSession, alice)
		return err
	},
	"statement":       func(ctx context.Context, _ *store.Manager) error { return record(ctx, "misused") },
	"nested":          func(ctx context.Context, m *store.Manager) error { return m.InTx(ctx, recordMisuse) },
	"GetDBConnection": func(ctx context.Context, _ *store.Manager) error { return store.GetDBConnection(ctx, nil) },
}

func recordMisuse(ctx context.Context) error { return record(ctx, "misused") }

func wantUses(ctx context.Context, tb testing.TB, m *store.Manager, want error) {
	tb.Helper()
	for name, use := range uses {
		tb.Log(name)
		wantError(tb, use(ctx, m), want)
	}
}

func TestTransactionUsedAfterItsEnd(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	var kept, nested, lost context.Context
	err := m.InTx(ctx, func(inTx context.Context) error {
		kept = inTx //nolint:fatcontext // the misuse that is tested
		return m.InTx(inTx, func(inner context.Context) error {
			nested = inner //nolint:fatcontext // the misuse that is tested
			return record(inner, "kept")
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = m.InTx(ctx, func(inTx context.Context) error {
		lost = inTx //nolint:fatcontext // the misuse that is tested
		wantUses(nested, t, m, store.ErrTxFinished)
		return errFailed
	})
	wantError(t, err, errFailed)
	for _, ended := range []context.Context{kept, nested, lost} {
		wantUses(ended, t, m, store.ErrTxFinished)
	}
	wantRecords(ctx, t, "kept")
	wantRecords(store.WithoutTx(kept), t, "kept")
}

func TestNestedTransactionUsedAfterItsEnd(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTx(ctx, func(outer context.Context) error {
		nested := outer
		err := m.InTx(outer, func(inner context.Context) error {
			nested = inner //nolint:fatcontext // the misuse that is tested
			return nil
		})
		wantUses(nested, t, m, store.ErrTxFinished)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t)
}

func TestTransactionUsedByTwoGoroutines(t *testing.T) {
	t.Parallel()
	ctx, m, config := openPool(t, 2)
	g := newGate(t, config)
	err := m.InTx(ctx, func(inTx context.Context) error {
		other := make(chan error, 1)
		go func() {
			_, err := store.ExecuteQuery(inTx, passGate)
			other <- err
		}()
		g.await(ctx, t)
		wantUses(inTx, t, m, store.ErrTxBusy)
		g.open(ctx, t)
		if err := <-other; err != nil {
			t.Errorf("the goroutine that came first: %v", err)
		}
		return record(inTx, "kept")
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t, "kept")
}

func TestOuterTransactionUsedInNestedOne(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	err := m.InTx(ctx, func(outer context.Context) error {
		err := m.InTx(outer, func(inner context.Context) error {
			wantUses(outer, t, m, store.ErrTxBusy)
			return record(inner, "inner")
		})
		if err != nil {
			return err
		}
		return record(outer, "outer")
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t, "inner", "outer")
}

// A goroutine that the function leaves behind in a query keeps its transaction from being committed half.
func TestTransactionInUseWhenItsFunctionReturns(t *testing.T) {
	t.Parallel()
	ctx, m, config := openPool(t, 1)
	before := backend(ctx, t)
	g := newGate(t, config)
	for _, result := range []error{nil, errFailed} {
		done, straggler, begun := make(chan error, 1), make(chan error, 1), make(chan struct{})
		go leaveStraggler(ctx, t, m, g, result, done, straggler, begun)
		<-begun
		awaitGoroutine(t, "leaveStraggler", "sync.(*Mutex).Lock")
		g.open(ctx, t)
		want := result
		if want == nil {
			want = store.ErrTxBusy
		}
		wantError(t, <-done, want)
		if err := <-straggler; err != nil {
			t.Errorf("the goroutine left behind: %v", err)
		}
		wantRecords(ctx, t)
		if after := backend(ctx, t); after != before {
			t.Error("the connection was thrown away")
		}
		if _, err := g.conn.Exec(t.Context(), "SELECT pg_advisory_lock(4711)"); err != nil {
			t.Fatal(err)
		}
	}
}

// leaveStraggler has a name by which awaitGoroutine can find it.
func leaveStraggler(
	ctx context.Context, t *testing.T, m *store.Manager, g gate, result error, done, straggler chan<- error, begun chan<- struct{},
) {
	t.Helper()
	done <- m.InTx(ctx, func(ctx context.Context) error {
		if err := record(ctx, "lost"); err != nil {
			t.Error(err)
		}
		go func() {
			_, err := store.ExecuteQuery(ctx, passGate)
			straggler <- err
		}()
		g.await(ctx, t)
		close(begun)
		return result
	})
}

// A nested transaction that another goroutine still runs counts as use.
func TestTransactionWithNestedOneWhenItsFunctionReturns(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	done, nested := make(chan error, 1), make(chan error, 1)
	proceed := make(chan struct{})
	go leaveNested(ctx, m, proceed, done, nested)
	awaitGoroutine(t, "leaveNested", "sync.(*Mutex).Lock")
	close(proceed)
	wantError(t, <-done, store.ErrTxBusy)
	if err := <-nested; err != nil {
		t.Errorf("the nested transaction: %v", err)
	}
	wantRecords(ctx, t)
}

// leaveNested has a name by which awaitGoroutine can find it.
func leaveNested(ctx context.Context, m *store.Manager, proceed <-chan struct{}, done, nested chan<- error) {
	done <- m.InTx(ctx, func(ctx context.Context) error {
		begun := make(chan struct{})
		go func() {
			nested <- m.InTx(ctx, func(ctx context.Context) error {
				close(begun)
				<-proceed
				return record(ctx, "lost")
			})
		}()
		<-begun
		return nil
	})
}
