package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// pause is what an agent thinks between two calls.
const pause = 5 * time.Millisecond

// rest waits, and reports whether the work goes on.
func (w *work) rest(d time.Duration) bool {
	select {
	case <-w.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// write adds messages, alone and in transactions. With keys each is repeated until it is acknowledged; without, where the
// error allows it.
func (w *work) write(ctx context.Context, m *store.Manager, agent string, keys bool) {
	for n := 0; ; n++ {
		content := fmt.Sprintf("%s writes %d", agent, n)
		message := store.NewMessage{Sender: agent, Content: content}
		if keys {
			message.IdempotencyKey = content
		}
		for attempt := 0; ; attempt++ {
			var err error
			if n%5 == 4 {
				err = m.InTx(ctx, func(ctx context.Context) error { _, err := m.AddMessage(ctx, w.session, message); return err })
			} else {
				_, err = m.AddMessage(ctx, w.session, message)
			}
			if keys && err != nil {
				w.entries.Unknown(content)
			} else {
				w.entries.Note(content, err)
			}
			if !w.rest(pause << min(attempt, 6)) {
				return
			}
			if err == nil || !keys && !store.IsRetryable(err) {
				break
			}
		}
	}
}

// count notes a call of another kind, and complains about an error that neither faults nor the rules explain.
func (w *work) count(err error, expected ...error) {
	w.other.Add(1)
	if err == nil || store.IsRetryable(err) || errors.Is(err, store.ErrOutcomeUnknown) {
		return
	}
	for _, e := range expected {
		if errors.Is(err, e) {
			return
		}
	}
	w.complain(fmt.Errorf("neither a fault nor a rule explains: %w", err))
}

// complain notes what must not happen.
func (w *work) complain(err error) {
	w.problems.Lock()
	defer w.problems.Unlock()
	w.problems.errs = append(w.problems.errs, err)
}

// read reads pages, searches and cleans up.
func (w *work) read(ctx context.Context, m *store.Manager, way string) {
	reader := store.Reader{AgentID: way + "_0"}
	for w.rest(pause) {
		_, err := m.GetSession(ctx, w.session, reader)
		w.count(err)
		_, err = m.SearchContext(ctx, store.SearchContextParams{SessionID: w.session, Reader: reader, Query: "wrties 77"})
		w.count(err)
		_, err = m.Cleanup(ctx)
		w.count(err)
	}
}

// cancel calls with contexts that end at any moment.
func (w *work) cancel(ctx context.Context, m *store.Manager) {
	for w.rest(pause) {
		short, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
		_, err := m.GetMessages(short, store.GetMessagesParams{SessionID: w.session, Reader: store.Reader{AgentID: "root", Admin: true}, Limit: 1000})
		w.count(err, context.Canceled)
		timer.Stop()
		cancel()
	}
}

// remember sets an entry of memory and reads it back. A statement whose answer was lost may still run for a while, and put
// an older value there.
func (w *work) remember(ctx context.Context, m *store.Manager, way string) {
	var settled time.Time
	for n := 1; w.rest(pause); n++ {
		value := fmt.Sprintf("%09d", n)
		_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: way, SessionID: w.session, Key: "step", Value: value})
		w.count(err)
		if err != nil {
			settled = time.Now().Add(2 * statementTimeout)
			continue
		}
		entry, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: way, SessionID: w.session, Key: "step"})
		w.count(err)
		if err == nil && entry.Value != value && time.Now().After(settled) {
			w.complain(fmt.Errorf("memory holds %q, was set to %q", entry.Value, value))
		}
	}
}

// followed is what a follower has received.
type followed struct {
	mu       sync.Mutex
	contents map[string]int
	failed   error
}

// follow receives until ctx ends.
func (f *followed) follow(ctx context.Context, m *store.Manager, session string) {
	var cursor store.FollowCursor
	for ctx.Err() == nil {
		for event, err := range m.Follow(ctx, store.FollowParams{SessionID: session, Reader: store.Reader{AgentID: "follower"}, After: cursor}) {
			f.mu.Lock()
			switch {
			case err == nil:
				f.contents[event.Message.Content]++
				cursor = event.Cursor
			case !store.IsRetryable(err) && ctx.Err() == nil:
				f.failed = err
			}
			f.mu.Unlock()
		}
		<-time.After(pause)
	}
}

// settle waits until as many messages have come as there are, and demands each once. It returns how many came.
func (f *followed) settle(ctx context.Context, want int) (int, error) {
	for {
		f.mu.Lock()
		n, failed := len(f.contents), f.failed
		var doubled error
		for content, times := range f.contents {
			if times > 1 {
				doubled = fmt.Errorf("a follower received %q %d times", content, times)
			}
		}
		f.mu.Unlock()
		switch {
		case failed != nil:
			return n, fmt.Errorf("a follower ended: %w", failed)
		case doubled != nil:
			return n, doubled
		case n == want:
			return n, nil
		case n > want:
			return n, fmt.Errorf("a follower received %d messages, there are %d", n, want)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return n, fmt.Errorf("a follower received %d of %d messages", n, want)
		}
	}
}
