package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// Agents write to one session at once, each several messages, some one by one and some in batches. Nothing is lost,
// doubled or reordered within an agent, and no connection is left in use.
func TestConcurrentAgents(t *testing.T) {
	t.Parallel()
	for _, agents := range []int{20, 200} {
		t.Run(fmt.Sprint(agents, " agents"), func(t *testing.T) {
			t.Parallel()
			ctx, f := setup(t)
			const each = 15
			group, groupCtx := errgroup.WithContext(ctx)
			senders := make([]string, agents)
			for agent := range senders {
				senders[agent] = fmt.Sprintf("agent_%d", agent)
				group.Go(func() error { return f.write(groupCtx, senders[agent], each, agent%2 == 0) })
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}

			if diff := cmp.Diff(written(senders, each), f.contentsBySender(ctx, t)); diff != "" {
				t.Errorf("messages by sender (-want +got):\n%s", diff)
			}
			audit := count(ctx, t, "SELECT count(DISTINCT metadata->'message_id') FROM audit_log WHERE event_type = 'message_added'")
			if audit != int64(agents*each) {
				t.Errorf("%d messages have an audit row, want %d", audit, agents*each)
			}
			wantIdle(t, f.Manager)
			if stats := f.Stats(); stats.OpenConnections > stats.MaxConnections {
				t.Errorf("after the work the pool is %+v", stats)
			}
		})
	}
}

// write adds messages with the numbers 0 to n-1, in batches of five or one by one.
func (f fixture) write(ctx context.Context, sender string, n int, batches bool) error {
	var batch []store.NewMessage
	for i := range n {
		message := store.NewMessage{Sender: sender, Content: fmt.Sprint(i)}
		if !batches {
			if _, err := f.AddMessage(ctx, f.session.ID, message); err != nil {
				return err
			}
			continue
		}
		if batch = append(batch, message); len(batch) == 5 || i == n-1 {
			if _, err := f.AddMessages(ctx, f.session.ID, batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	return nil
}

// written is what write adds, by sender.
func written(senders []string, n int) map[string][]string {
	contents := make(map[string][]string)
	for _, sender := range senders {
		for i := range n {
			contents[sender] = append(contents[sender], fmt.Sprint(i))
		}
	}
	return contents
}

// contentsBySender reads all messages of the session, page by page, and fails when one comes twice.
func (f fixture) contentsBySender(ctx context.Context, tb testing.TB) map[string][]string {
	tb.Helper()
	contents := make(map[string][]string)
	ids := make(map[int64]bool)
	cursor := store.MessageCursor{}
	for more := true; more; {
		page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: admin, Limit: 700, After: &cursor})
		if err != nil {
			tb.Fatal(err)
		}
		for _, message := range page.Messages {
			if ids[message.ID] {
				tb.Errorf("message %d is read twice", message.ID)
			}
			ids[message.ID] = true
			contents[message.Sender] = append(contents[message.Sender], message.Content)
		}
		more, cursor = page.HasMore, page.Next
	}
	return contents
}

// A session may be deleted while agents write to it: each message is either added or refused as one to no session.
func TestDeleteWhileWriting(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.add(ctx, t, store.NewMessage{Sender: "first", Content: "x"})
	group, groupCtx := errgroup.WithContext(ctx)
	started := make(chan struct{}, 8)
	for agent := range 8 {
		group.Go(func() error {
			for i := 0; ; i++ {
				_, err := f.AddMessage(groupCtx, f.session.ID, store.NewMessage{Sender: fmt.Sprintf("agent_%d", agent), Content: fmt.Sprint(i)})
				if i == 3 {
					started <- struct{}{}
				}
				if err != nil {
					return ignore(err, store.ErrSessionNotFound)
				}
			}
		})
	}
	group.Go(func() error {
		for range 8 {
			<-started
		}
		return f.DeleteSession(groupCtx, f.session.ID, "alice")
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 0 {
		t.Errorf("%d messages are left of the deleted session", n)
	}
}
