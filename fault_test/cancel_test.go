package fault_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// connects counts the connections that a manager makes.
type connects struct{ made atomic.Int64 }

func (c *connects) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	c.made.Add(1)
	return ctx
}
func (*connects) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) {}
func (*connects) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (*connects) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Requests that are cancelled while the server works on them do not cost the pool its connections, and leave nothing
// running on the server.
func TestCancelledRequestsKeepTheirConnections(t *testing.T) {
	t.Parallel()
	const workers, requests = 10, 20
	var counted connects
	ctx, f := setup(t, func(config *store.Config) {
		config.StatementTimeout = -1
		config.Tracer, config.MaxConnections = &counted, workers
	})
	var running sync.WaitGroup
	var unknown atomic.Int64
	for worker := range workers {
		running.Go(func() {
			for n := range requests {
				request := fmt.Sprintf("worker %d request %d.", worker, n)
				cancelled, cancel := context.WithCancel(ctx)
				sent := f.proxy.Cut(request, faultproxy.Never)
				go func() {
					<-sent
					cancel()
				}()
				_, err := store.ExecuteQuery(cancelled, "SELECT pg_sleep(600), ?::text", request)
				cancel()
				if !errors.Is(err, context.Canceled) || store.IsRetryable(err) {
					t.Errorf("got %v, want the cancellation", err)
				}
				if errors.Is(err, store.ErrOutcomeUnknown) {
					unknown.Add(1)
				}
			}
		})
	}
	running.Wait()
	// A server that is slow to answer loses some.
	if made := counted.made.Load(); made > workers+workers*requests/2 || unknown.Load() > workers*requests/2 {
		t.Errorf("%d cancelled requests made the pool of %d connect %d times and left %d outcomes unknown", workers*requests, workers, made, unknown.Load())
	}
	rows, err := store.ExecuteQuery(store.NewContext(ctx, f.direct),
		"SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%' AND state = 'active'")
	if err != nil {
		t.Fatal(err)
	}
	if rows[0]["n"] != int64(0) {
		t.Errorf("%v statements still run on the server", rows[0]["n"])
	}
	f.wantWorking(t)
}

// A request that is cancelled in its transaction takes all of it back, and the connection stays.
func TestCancelledTransactionKeepsItsConnection(t *testing.T) {
	t.Parallel()
	var counted connects
	ctx, f := setup(t, func(config *store.Config) { config.Tracer, config.MaxConnections = &counted, 1 })
	for n := range 20 {
		request := fmt.Sprintf("request %d.", n)
		cancelled, cancel := context.WithCancel(ctx)
		sent := f.proxy.Cut(request, faultproxy.Never)
		go func() {
			<-sent
			cancel()
		}()
		err := f.InTx(cancelled, func(ctx context.Context) error {
			if _, err := f.AddMessage(ctx, f.session, message("taken back", "")); err != nil {
				return err
			}
			return store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
				rows, err := conn.Query(ctx, "SELECT pg_sleep(600), $1::text", request)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
				}
				return rows.Err()
			})
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the cancellation", err)
		}
	}
	if made := counted.made.Load(); made > 10 {
		t.Errorf("20 cancelled transactions made the pool of one connect %d times", made)
	}
	f.wantCount(t, "taken back", 0)
	f.wantWorking(t)
}

// A request to cancel that overtakes its statement has no effect on the server. It is made again.
func TestCancellationOvertakesStatement(t *testing.T) {
	t.Parallel()
	const requests = 10
	const cancelRequest = "\x04\xd2\x16\x2e" // what the message begins with, after its length
	var counted connects
	ctx, f := setup(t, func(config *store.Config) { config.Tracer, config.MaxConnections = &counted, 1 })
	for n := range requests {
		request := fmt.Sprintf("request %d.", n)
		held, release := f.proxy.Hold(request)
		f.proxy.Cut(cancelRequest, faultproxy.Never)
		askedAgain := f.proxy.Cut(cancelRequest, faultproxy.Never)
		cancelled, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			<-held
			cancel()
			select {
			case <-askedAgain: // the first request has been acknowledged
			case <-ended:
			}
			release()
		}()
		_, err := store.ExecuteQuery(cancelled, "SELECT pg_sleep(600), ?::text", request)
		close(ended)
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the cancellation", err)
		}
	}
	if made := counted.made.Load(); made > requests/2 { // a slow server loses some
		t.Errorf("%d cancelled requests made the pool of one connect %d times", requests, made)
	}
	f.wantWorking(t)
}
