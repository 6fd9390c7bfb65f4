package store_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

const setters = 50

// Many set one key at once: none fails, one row is left and it is what one of them wrote.
func TestConcurrentSetMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for scope, sessionID := range f.scopes() {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			group, groupCtx := errgroup.WithContext(ctx)
			for i := range setters {
				group.Go(func() error {
					params := store.SetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "k", Value: fmt.Sprint(i), Metadata: map[string]int{"i": i}}
					if i%2 == 0 { // an end shorter than the time for which others are waited for
						params.TTL = time.Microsecond
					}
					entry, err := f.SetMemory(groupCtx, params)
					if err == nil && entry.Value != fmt.Sprint(i) {
						err = fmt.Errorf("set %d returns %q", i, entry.Value)
					}
					return err
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			if n := count(ctx, t, `SELECT count(*) FROM agent_memory WHERE agent_id = 'alice' AND key = 'k'
				AND session_id IS NOT DISTINCT FROM nullif(?, '') AND value = metadata->>'i' AND (expires_at IS NOT NULL) = (value::int % 2 = 0)`, sessionID); n != 1 {
				t.Errorf("%d rows that are what one setter wrote, want 1", n)
			}
			if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'memory_set' AND session_id IS NOT DISTINCT FROM nullif(?, '')", sessionID); n != setters {
				t.Errorf("%d audit rows, want %d", n, setters)
			}
		})
	}
}

// Many set one key at once and keep what exists: exactly one wins, also where an expired row is in the way.
func TestConcurrentSetMemoryOnce(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for scope, sessionID := range f.scopes() {
		for _, expired := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, expired %t", scope, expired), func(t *testing.T) {
				t.Parallel()
				agent := fmt.Sprintf("agent_%t", expired)
				if expired {
					f.set(ctx, t, store.SetMemoryParams{AgentID: agent, SessionID: sessionID, Key: "k", Value: "old", TTL: time.Hour, Now: &noon})
				}
				var winner atomic.Pointer[string]
				group, groupCtx := errgroup.WithContext(ctx)
				for i := range setters {
					group.Go(func() error {
						entry, err := f.SetMemory(groupCtx, store.SetMemoryParams{
							AgentID: agent, SessionID: sessionID, Key: "k", Value: fmt.Sprint(i), TTL: time.Hour, KeepExisting: true,
						})
						if err == nil && !winner.CompareAndSwap(nil, &entry.Value) {
							return errors.New("a second setter won")
						}
						return ignore(err, store.ErrMemoryKeyExists)
					})
				}
				if err := group.Wait(); err != nil {
					t.Fatal(err)
				}
				entry, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: agent, SessionID: sessionID, Key: "k"})
				if err != nil {
					t.Fatal(err)
				}
				if winner.Load() == nil || entry.Value != *winner.Load() {
					t.Errorf("the value is %q, the winner's %v", entry.Value, winner.Load())
				}
				want := int64(1)
				if expired { // the row of the expired entry
					want++
				}
				if n := count(ctx, t, `SELECT count(*) FROM audit_log WHERE event_type = 'memory_set' AND agent_id = ?
					AND session_id IS NOT DISTINCT FROM nullif(?, '')`, agent, sessionID); n != want {
					t.Errorf("%d audit rows, want %d", n, want)
				}
			})
		}
	}
}

// Many delete one entry at once: exactly one does.
func TestConcurrentDeleteMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for scope, sessionID := range f.scopes() {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "k", Value: "v"})
			var deleted atomic.Int64
			group, groupCtx := errgroup.WithContext(ctx)
			for range 10 {
				group.Go(func() error {
					err := f.DeleteMemory(groupCtx, store.DeleteMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "k"})
					if err == nil {
						deleted.Add(1)
					}
					return ignore(err, store.ErrMemoryNotFound)
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			if deleted.Load() != 1 {
				t.Errorf("%d deleted it, want 1", deleted.Load())
			}
		})
	}
}

// Setters, readers, deleters, lists and the cleanup work on the same few keys at once, and nothing fails.
func TestConcurrentMemory(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	ctx, f := setup(t)
	group, groupCtx := errgroup.WithContext(ctx)
	for worker := range 16 {
		group.Go(func() error {
			for i := range 40 {
				sessionID, key := "", fmt.Sprint("k", i%3)
				if i%2 == 0 {
					sessionID = f.session.ID
				}
				var err error
				switch (worker + i) % 5 {
				case 0, 1:
					_, err = f.SetMemory(groupCtx, store.SetMemoryParams{
						AgentID: "alice", SessionID: sessionID, Key: key, Value: "v", TTL: time.Duration(i%4) * time.Microsecond, KeepExisting: i%3 == 0,
					})
				case 2:
					_, err = f.GetMemory(groupCtx, store.GetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: key})
				case 3:
					err = f.DeleteMemory(groupCtx, store.DeleteMemoryParams{AgentID: "alice", SessionID: sessionID, Key: key})
				default:
					_, err = f.ListMemory(groupCtx, store.ListMemoryParams{AgentID: "alice"})
					if err == nil {
						_, err = store.CleanupExpiredData(groupCtx)
					}
				}
				if err = ignore(ignore(err, store.ErrMemoryNotFound), store.ErrMemoryKeyExists); err != nil {
					return fmt.Errorf("worker %d, step %d: %w", worker, i, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	wantIdle(t, f.Manager)
}

// A session may be deleted while agents use its memory: each call succeeds or is refused as one to no session, and
// none ends in a deadlock.
func TestDeleteSessionWhileSettingMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for range 20 {
		session := newSession(ctx, t, f.Manager)
		group, groupCtx := errgroup.WithContext(ctx)
		started := make(chan struct{}, 6)
		for agent := range 6 {
			group.Go(func() error {
				name := fmt.Sprint("agent_", agent/2) // two on each agent's memory
				for i := 0; ; i++ {
					_, err := f.SetMemory(groupCtx, store.SetMemoryParams{AgentID: name, SessionID: session.ID, Key: fmt.Sprint(i % 2), Value: "v"})
					if i == 2 || err != nil && i < 2 {
						started <- struct{}{}
					}
					if err != nil {
						return ignore(err, store.ErrSessionNotFound)
					}
					if i%3 == 2 {
						err = f.DeleteMemory(groupCtx, store.DeleteMemoryParams{AgentID: name, SessionID: session.ID, Key: fmt.Sprint(i % 2)})
						if ignore(err, store.ErrMemoryNotFound) != nil {
							return err
						}
					}
				}
			})
		}
		group.Go(func() error {
			for range 6 {
				<-started
			}
			return f.DeleteSession(groupCtx, session.ID, "alice")
		})
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(ctx, t, "SELECT count(*) FROM agent_memory"); n != 0 {
		t.Errorf("%d entries are left of the deleted sessions", n)
	}
}
