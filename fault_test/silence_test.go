package fault_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// A server that says nothing any more keeps nobody beyond a deadline.
func TestServerFallsSilent(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t, func(config *store.Config) { config.AcquireTimeout = time.Second })
	f.wantWorking(t)
	f.proxy.Silence()
	calls := map[string]func(ctx context.Context) error{
		"read": func(ctx context.Context) error { _, err := f.GetMessages(ctx, readAll(f.session)); return err },
		"write": func(ctx context.Context) error {
			_, err := f.AddMessage(ctx, f.session, message("silent", ""))
			return err
		},
		"write with key": func(ctx context.Context) error {
			_, err := f.AddMessage(ctx, f.session, message("keyed", "key"))
			return err
		},
	}
	for name, call := range calls {
		bounded, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := call(bounded)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the deadline", name, err)
		}
		// The first call has the connection that was in use, the others find none. Which is which is chance.
		if !store.IsRetryable(err) && !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s: neither retryable nor unknown: %v", name, err)
		}
		if err = call(ctx); !errors.Is(err, context.DeadlineExceeded) { // bounded by AcquireTimeout
			t.Errorf("%s without a deadline: %v", name, err)
		}
		wantRetryable(t, err)
	}
	f.proxy.Resume()
	eventually(t, "the pool recovers", func() bool { return calls["read"](ctx) == nil })
	f.wantWorking(t)
	if got := f.count(t, "silent"); got > 1 {
		t.Errorf("the message is there %d times", got)
	}
}

// A write whose deadline passes is ended by the server, and known to have had no effect, unless the server is slow with that.
func TestDeadlinePasses(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.wantWorking(t)
	for name, key := range map[string]string{"without": "", "with": "key"} {
		content := name + " key"
		bounded, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		blocker := blockKeys(t, f)
		_, err := f.AddMessage(bounded, f.session, message(content, key))
		blocker()
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the deadline", content, err)
		}
		switch {
		case store.IsRetryable(err):
			if key == "" {
				f.wantCount(t, content, 0)
			}
		case key != "" || !errors.Is(err, store.ErrOutcomeUnknown):
			t.Errorf("%s: neither retryable nor unknown: %v", content, err)
		}
	}
	f.wantWorking(t)
}

// blockKeys keeps messages from being added until the function that it returns is called.
func blockKeys(t *testing.T, f *fixture) (release func()) {
	t.Helper()
	locked, done := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- f.direct.InTx(store.NewContext(t.Context(), f.direct), func(ctx context.Context) error {
			_, err := store.ExecuteUpdate(ctx, "LOCK TABLE messages IN EXCLUSIVE MODE")
			close(locked)
			<-done
			return err
		})
	}()
	<-locked
	return func() {
		close(done)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestSlowNetwork(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.proxy.Delay(5 * time.Millisecond)
	runUnderLoad(ctx, t, f.Manager, f.direct, f.session)
	f.proxy.Delay(time.Minute)
	bounded, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := f.AddMessage(bounded, f.session, message("late", "key"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	wantRetryable(t, err)
	f.proxy.Delay(0)
	f.proxy.CutAll()
	if _, err := f.AddMessage(ctx, f.session, message("late", "key")); err != nil {
		t.Errorf("after the delay: %v", err)
	}
	f.wantCount(t, "late", 1)
}

// Of the idle connections of a server that has gone and come back, one costs an error and the others do not.
func TestDeadIdleConnections(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	openTen(ctx, t, f.Manager)
	if stats := f.Stats(); stats.Idle < 10 {
		t.Fatalf("no idle connections to lose: %+v", stats)
	}
	f.proxy.CutAll()
	failed := 0
	for range 20 {
		if _, err := f.GetMessages(ctx, readAll(f.session)); err != nil {
			wantRetryable(t, err)
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("ten dead connections cost %d errors, want at most one", failed)
	}
}

// openTen makes the pool hold ten idle connections.
func openTen(ctx context.Context, t *testing.T, m *store.Manager) {
	t.Helper()
	const n = 10
	started, hold, ended := make(chan struct{}, n), make(chan struct{}), make(chan error, n)
	for range n {
		go func() {
			ended <- m.InTx(ctx, func(context.Context) error {
				started <- struct{}{}
				<-hold
				return nil
			})
		}()
	}
	for range n {
		<-started
	}
	close(hold)
	for range n {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// Of the connections to a host that has vanished, one is waited for, and the call then goes to the other host.
func TestHostVanishes(t *testing.T) {
	t.Parallel()
	_, f := setup(t)
	ctx, m := storetest.Open(t, store.Config{
		URL: through(f.server, f.proxy, newProxy(t, f.server)) + "&connect_timeout=1", MinConnections: -1,
		AcquireTimeout: 6 * time.Second,
	})
	openTen(ctx, t, m)
	f.proxy.Silence()
	defer f.proxy.Resume()
	bounded, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := m.GetMessages(bounded, readAll(f.session)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if _, err := m.GetMessages(ctx, readAll(f.session)); err != nil {
		t.Errorf("with another host to go to: %v", err)
	}
}

// Close does not wait for a server that says nothing, and neither do the operations that it cuts.
func TestCloseWhileServerIsSilent(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.wantWorking(t)
	sent := f.proxy.Cut("never answered", faultproxy.Never)
	cut := make(chan error, 1)
	go func() {
		_, err := store.ExecuteQuery(ctx, "SELECT pg_sleep(600), 'never answered'::text")
		cut <- err
	}()
	<-sent
	f.proxy.Silence()
	defer f.proxy.Resume()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v, want the end of its context", err)
	}
	wantUnknown(t, <-cut)
}
