package fault_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/ledger"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	agents = 20
	// betweenFaults is how many messages are acknowledged before the next fault, and after the last one.
	betweenFaults = 200
)

// load is agents that write to one session, each as fast as it can, while faults happen.
type load struct {
	*store.Manager
	session string
	entries ledger.Ledger
	stop    chan struct{}
}

// runUnderLoad lets the faults happen one after the other, each when all is well again after the one before, and checks
// the ledger at the end. direct is a manager that sees what is there.
func runUnderLoad(ctx context.Context, t *testing.T, m, direct *store.Manager, session string, faults ...func()) {
	t.Helper()
	l := &load{Manager: m, session: session, stop: make(chan struct{})}
	var writers sync.WaitGroup
	for i := range agents {
		name := fmt.Sprintf("agent_%d", i)
		if i%2 == 0 {
			writers.Go(func() { l.writeWithKeys(ctx, t, name) })
		} else {
			writers.Go(func() { l.writeWithoutKeys(ctx, t, name) })
		}
	}
	func() { // a fault that fails the test leaves no agent behind
		defer writers.Wait()
		defer close(l.stop)
		for _, fault := range faults {
			l.awaitMore(t)
			fault()
		}
		l.awaitMore(t)
	}()
	eventually(t, "the other manager has recovered", func() bool {
		_, err := direct.GetMessages(t.Context(), readAll(session))
		return err == nil
	})
	report, err := l.entries.Check(t.Context(), direct, session)
	if err != nil {
		t.Error(err)
	}
	t.Log(report)
	wantAudited(t, direct, session)
}

// awaitMore waits until betweenFaults more messages are acknowledged.
func (l *load) awaitMore(t *testing.T) {
	t.Helper()
	goal := l.entries.Count() + betweenFaults
	eventually(t, "the agents write", func() bool { return l.entries.Count() >= goal })
}

// writeWithKeys repeats each message until it is acknowledged, which every error allows.
func (l *load) writeWithKeys(ctx context.Context, t *testing.T, agent string) {
	t.Helper()
	for n := 0; ; n++ {
		content := fmt.Sprintf("%s with key %d", agent, n)
		for attempt := 0; ; attempt++ {
			_, err := l.AddMessage(ctx, l.session, message(content, content))
			if err == nil {
				l.entries.Acknowledged(content)
			} else {
				l.entries.Unknown(content)
				if !store.IsRetryable(err) {
					t.Errorf("a message with a key cannot be repeated after: %v", err)
				}
			}
			if !l.goOn(attempt, err) {
				return
			}
			if err == nil {
				break
			}
		}
	}
}

// writeWithoutKeys repeats a message where the error allows that, and else goes on with the next one.
func (l *load) writeWithoutKeys(ctx context.Context, t *testing.T, agent string) {
	t.Helper()
	for n := 0; ; n++ {
		content := fmt.Sprintf("%s without key %d", agent, n)
		for attempt := 0; ; attempt++ {
			_, err := l.AddMessage(ctx, l.session, message(content, ""))
			l.entries.Note(content, err)
			if err != nil && !store.IsRetryable(err) && !errors.Is(err, store.ErrOutcomeUnknown) {
				t.Errorf("neither retryable nor unknown: %v", err)
			}
			if !l.goOn(attempt, err) {
				return
			}
			if !store.IsRetryable(err) {
				break
			}
		}
	}
}

// goOn waits before the next attempt after an error, and reports whether there is to be one.
func (l *load) goOn(attempt int, err error) bool {
	var wait time.Duration
	if err != nil {
		wait = time.Millisecond << min(attempt, 6)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.stop:
		return false
	case <-timer.C:
		return true
	}
}

// wantAudited fails unless each message of the session has its audit row.
func wantAudited(t *testing.T, m *store.Manager, session string) {
	t.Helper()
	rows, err := store.ExecuteQuery(store.NewContext(t.Context(), m), `
		SELECT (SELECT count(*) FROM messages WHERE session_id = ?) AS messages,
		       (SELECT count(*) FROM audit_log WHERE session_id = ? AND event_type = 'message_added') AS audited`, session, session)
	if err != nil {
		t.Fatal(err)
	}
	if rows[0]["messages"] != rows[0]["audited"] {
		t.Errorf("messages and their audit rows: %v", rows[0])
	}
}

func TestConnectionsAreCutUnderLoad(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	cut := func() { f.proxy.CutAll() }
	runUnderLoad(ctx, t, f.Manager, f.direct, f.session, cut, cut, cut, cut, cut)
	f.wantWorking(t)
}
