package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Whatever the size of a page, a message of a transaction that ended late comes once, and one that goes on from any cursor
// receives the others.
func TestFollowInPages(t *testing.T) {
	t.Parallel()
	for _, page := range []int{1, 2, 3, 7} {
		t.Run(fmt.Sprint(page, " a page"), func(t *testing.T) {
			t.Parallel()
			ctx, m := storetest.New(t)
			store.SetFollowPage(m, page)
			session, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "pages", CreatedBy: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			add := func(ctx context.Context, n int) error {
				messages := make([]store.NewMessage, n)
				for i := range messages {
					messages[i] = store.NewMessage{Sender: "alice", Content: "text"}
				}
				_, err := m.AddMessages(ctx, session.ID, messages)
				return err
			}
			params := store.FollowParams{SessionID: session.ID, Reader: store.Reader{AgentID: "bob"}}
			following, cancel := context.WithCancel(ctx)
			defer cancel()
			received := make(chan store.FollowedMessage, 1000)
			ended := make(chan error, 1)
			go func() {
				for event, err := range m.Follow(following, params) {
					if err != nil {
						ended <- err
						return
					}
					received <- event
				}
			}()
			var events []store.FollowedMessage
			await := func(n int) {
				for range n {
					select {
					case event := <-received:
						events = append(events, event)
					case err := <-ended:
						t.Fatal(err)
					}
				}
			}
			// Full pages while an earlier transaction is open, which then commits.
			for _, late := range []int{1, page, 2*page + 1} {
				if err := m.InTx(ctx, func(ctx context.Context) error {
					if err := add(ctx, late); err != nil {
						return err
					}
					for _, n := range []int{page, 2 * page, page + 1} {
						if err := add(store.WithoutTx(ctx), n); err != nil {
							return err
						}
						await(n)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				await(late)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if len(received) > 0 {
				t.Errorf("%d messages came too much", len(received))
			}
			all := make([]int64, len(events))
			for i, event := range events {
				all[i] = event.Message.ID
			}
			if distinct := slices.Compact(slices.Sorted(slices.Values(all))); len(distinct) != len(all) {
				t.Errorf("%d messages came, %d of them are distinct", len(all), len(distinct))
			}
			for i := range len(events) - 1 {
				params.After = events[i].Cursor
				var rest []int64
				for event, err := range m.Follow(ctx, params) {
					if err != nil {
						t.Fatal(err)
					}
					if rest = append(rest, event.Message.ID); len(rest) == len(all)-i-1 {
						break
					}
				}
				slices.Sort(rest)
				want := slices.Sorted(slices.Values(all[i+1:]))
				if diff := cmp.Diff(want, rest); diff != "" {
					t.Errorf("after %d messages (-want +got):\n%s", i+1, diff)
				}
			}
		})
	}
}
