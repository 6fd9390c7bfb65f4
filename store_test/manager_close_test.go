package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// otherConnections counts the connections to this database but for the one that asks.
const otherConnections = `SELECT count(*) FROM pg_stat_activity
	WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`

func TestCloseWaits(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	ctx, m := storetest.Open(t, config)
	closed := make(chan error, 1)
	err := m.InTx(ctx, func(inTx context.Context) error {
		go func() { closed <- m.Close(ctx) }()
		awaitClosed(ctx, t, m)
		select {
		case err := <-closed:
			t.Errorf("Close did not wait: %v", err)
		default:
		}
		return record(inTx, "after Close was called")
	})
	if err != nil {
		t.Errorf("the transaction that was running: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	awaitNumber(ctx, t, connect(t, config), 0, otherConnections)
	ctx, _ = storetest.Open(t, config)
	if diff := cmp.Diff([]string{"after Close was called"}, records(ctx, t)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// Statements that do not end are ended on the server, so that it is known what became of them.
func TestCloseCancelsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.StatementTimeout = -1
	ctx, m := storetest.Open(t, config)
	databaseName(ctx, t)
	watcher := connect(t, config)
	asleep := make(chan error, 2)
	go func() {
		_, err := store.ExecuteQuery(ctx, "SELECT pg_sleep(600)")
		asleep <- err
	}()
	go func() {
		asleep <- m.InTx(ctx, func(ctx context.Context) error {
			_ = record(ctx, "lost")
			_, err := store.ExecuteUpdate(ctx, "SELECT pg_sleep(600)")
			return err
		})
	}()
	awaitNumber(ctx, t, watcher, 2, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := m.Close(ended)
	wantError(t, err, context.Canceled)
	var connection *store.DatabaseConnectionError
	if !errors.As(err, &connection) || connection.Op != "close" || !strings.Contains(err.Error(), "still running") {
		t.Errorf("Close: %v", err)
	}
	for range 2 {
		select {
		case err := <-asleep:
			var pgErr *pgconn.PgError
			if !errors.As(err, &pgErr) || pgErr.Code != "57014" || errors.Is(err, store.ErrOutcomeUnknown) {
				t.Errorf("the operation that was cancelled: %v, want what the server says to that", err)
			}
		case <-time.After(patience):
			t.Fatal("the operations were not cancelled")
		}
	}
	awaitNumber(ctx, t, watcher, 0, otherConnections)
	awaitNumber(ctx, t, watcher, 0, "SELECT count(*) FROM audit_log")
	if err := m.Close(t.Context()); err != nil {
		t.Errorf("Close once more: %v", err)
	}
}

// A function that is busy with something else does not notice that its connection was cut. Close does not wait for it.
func TestCloseDoesNotWaitForOthers(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	inTx, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	var recorded error
	go func() {
		ended <- m.InTx(ctx, func(ctx context.Context) error {
			close(inTx)
			<-release
			recorded = record(ctx, "lost")
			return nil // does not look at errors either
		})
	}()
	<-inTx
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, m.Close(cancelled), context.Canceled)
	close(release)
	if err := <-ended; err == nil || recorded == nil {
		t.Errorf("after its connection was cut, an operation gave %v and its transaction %v", recorded, err)
	}
}

func TestCloseWithNothingToWaitFor(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	databaseName(ctx, t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Close(cancelled); err != nil {
		t.Errorf("no operation was cut, but Close says: %v", err)
	}
}

func TestCloseByManyAtOnce(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	databaseName(ctx, t)
	var closing sync.WaitGroup
	for range 10 {
		closing.Go(func() {
			if err := m.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	closing.Wait()
	_, err := store.ExecuteQuery(ctx, "SELECT 1")
	wantError(t, err, store.ErrManagerClosed)
}

// The default configuration connects in the background, which Close has to stop.
func TestCloseWhileConnecting(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.MinConnections = 5
	for range 5 {
		m, err := store.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	awaitNumber(t.Context(), t, connect(t, config), 0, otherConnections)
}
