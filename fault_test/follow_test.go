package fault_test

import (
	"context"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// A server that crashes forgets transactions that had nothing to write, such as those that tell followers, and gives their
// numbers again: a follower that had counted on them would take the next message for one that it has.
func TestFollowerOfCrashedServer(t *testing.T) {
	t.Parallel()
	ctx, f, server := setupServer(t, "wal_writer_delay=10s", "autovacuum=off")
	following, cancel := context.WithCancel(ctx)
	received, ended := make(chan string, 100), make(chan error, 1)
	go func() {
		for event, err := range f.Follow(following, store.FollowParams{SessionID: f.session, Reader: store.Reader{AgentID: "follower"}}) {
			if err != nil {
				ended <- err
				return
			}
			received <- event.Message.Content
		}
	}()
	add := func(content string) {
		t.Helper()
		eventually(t, "the message is added", func() bool {
			_, err := f.AddMessage(ctx, f.session, message(content, content))
			return err == nil
		})
		select {
		case got := <-received:
			if got != content {
				t.Fatalf("after %q came %q", content, got)
			}
		case err := <-ended:
			t.Fatalf("instead of %q came: %v", content, err)
		}
	}
	add("before")
	for range 3 {
		// Numbers that nothing on the disk tells of.
		if _, err := store.ExecuteQuery(store.NewContext(ctx, f.direct), "SELECT pg_notify('sharedcontext', '1')::text, pg_current_xact_id()::text"); err != nil {
			t.Fatal(err)
		}
	}
	add("still before")
	server.kill(t)
	server.start(t)
	f.proxy.Forward(address(t, server.URL("postgres")))
	add("after")
	add("at last")
	cancel()
	<-ended
}
