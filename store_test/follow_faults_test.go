package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// listeners is the number of connections of this database that listen.
const listeners = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND (query LIKE 'LISTEN %' OR query = '-- ping')"

// terminateListeners cuts the connections that listen.
const terminateListeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"

// ledger is what writers of one session have done: the contents that are committed, by writer in order.
type ledger struct {
	sync.Mutex
	committed map[string][]string
}

// write lets writers add messages, each to its end: alone, several in a transaction, in savepoints of which some are rolled
// back, and transactions that stay open while others commit.
func (l *ledger) write(ctx context.Context, t *testing.T, f fixture, writers, rounds int) *sync.WaitGroup {
	t.Helper()
	l.committed = make(map[string][]string)
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			sender := fmt.Sprint("writer-", w)
			for round := range rounds {
				var added []string
				add := func(ctx context.Context, n int) error {
					for i := range n {
						content := fmt.Sprintf("%s %d.%d.%d", sender, round, len(added), i)
						if _, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: sender, Content: content}); err != nil {
							return err
						}
						added = append(added, content)
					}
					return nil
				}
				var err error
				switch random.IntN(3) {
				case 0:
					err = add(ctx, 1)
				case 1:
					err = f.InTx(ctx, func(ctx context.Context) error { return add(ctx, 1+random.IntN(4)) })
				case 2:
					err = f.InTx(ctx, func(ctx context.Context) error {
						if err := add(ctx, 1); err != nil {
							return err
						}
						kept := len(added)
						back := random.IntN(2) == 0
						err := f.InTx(ctx, func(ctx context.Context) error {
							if err := add(ctx, 1+random.IntN(3)); err != nil || !back {
								return err
							}
							return errTakenBack
						})
						if errors.Is(err, errTakenBack) {
							added, err = added[:kept], nil
						}
						return err
					})
				}
				if err != nil {
					t.Errorf("%s: %v", sender, err)
					return
				}
				l.Lock()
				l.committed[sender] = append(l.committed[sender], added...)
				l.Unlock()
			}
		})
	}
	return &writing
}

var errTakenBack = errors.New("taken back")

// total is how many messages are committed.
func (l *ledger) total() (n int) {
	for _, contents := range l.committed {
		n += len(contents)
	}
	return n
}

// check compares what a follower has received with what was committed: each message once, those of a writer in order.
func (l *ledger) check(t *testing.T, who string, events []store.FollowedMessage) {
	t.Helper()
	got := make(map[string][]string)
	for _, event := range events {
		got[event.Message.Sender] = append(got[event.Message.Sender], event.Message.Content)
	}
	if diff := cmp.Diff(l.committed, got); diff != "" {
		t.Errorf("%s (-committed +followed):\n%s", who, diff)
	}
}

// Whatever the writers do, and wherever a follower is cut off and started again with the cursor it had, each message comes
// once.
func TestFollowRestartedAnywhere(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	var l ledger
	writing := l.write(ctx, t, f, 6, 40)
	written := make(chan struct{})
	go func() {
		writing.Wait()
		if _, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "last", Content: "end"}); err != nil {
			t.Error(err)
		}
		close(written)
	}()

	const followers = 4
	events := make([][]store.FollowedMessage, followers)
	var following sync.WaitGroup
	for n := range followers {
		following.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 2))
			var cursor store.FollowCursor
			for ended := false; !ended; {
				text, err := cursor.MarshalText()
				if err == nil {
					cursor = store.FollowCursor{}
					err = cursor.UnmarshalText(text)
				}
				if err != nil {
					t.Error(err)
					return
				}
				until := len(events[n]) + 1 + random.IntN(20)
				for event, err := range f.Follow(ctx, store.FollowParams{SessionID: f.session.ID, Reader: alice, After: cursor}) {
					if err != nil {
						t.Error(err)
						return
					}
					events[n], cursor = append(events[n], event), event.Cursor
					// Nothing is committed after this.
					if ended = event.Message.Content == "end"; ended || len(events[n]) == until {
						break
					}
				}
			}
		})
	}
	following.Wait()
	<-written
	l.committed["last"] = []string{"end"}
	for n := range followers {
		l.check(t, fmt.Sprint("follower ", n), events[n])
	}
}

// followAll starts followers of the fixture's session, each of which receives in the background.
func followAll(ctx context.Context, t *testing.T, f fixture, n int) []*following[store.FollowedMessage] {
	t.Helper()
	followers := make([]*following[store.FollowedMessage], n)
	for i := range followers {
		followers[i] = followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	}
	return followers
}

// The connection that listens may be cut at any time.
func TestFollowWhileListenersAreCut(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cuts who listens, which is the owner")
	ctx, f := setup(t)
	followers := followAll(ctx, t, f, 3)
	var l ledger
	writing := l.write(ctx, t, f, 4, 40)
	written := make(chan struct{})
	go func() { writing.Wait(); close(written) }()
	cut := int64(0)
	for done := false; !done || cut == 0; {
		select {
		case <-written:
			done = true
		default:
		}
		cut += count(ctx, t, terminateListeners)
	}
	if t.Failed() {
		return
	}
	l.committed["last"] = []string{"end"}
	f.add(ctx, t, store.NewMessage{Sender: "last", Content: "end"})
	for i, follower := range followers {
		l.check(t, fmt.Sprint("follower ", i), follower.next(l.total()))
	}
	t.Logf("%d connections were cut while %d messages came", cut, l.total())
}

// Followers in one process share one connection that listens, and one read of what comes.
func TestThousandFollowers(t *testing.T) {
	t.Parallel()
	needsOwner(t, "counts who listens, which is the owner")
	config := storetest.Config(t)
	config.PoolSize, config.MinConnections = 4, 1
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	const followersOf, sessions = 100, 10
	type followed struct {
		session   store.Session
		followers []*following[store.FollowedMessage]
	}
	all := make([]followed, sessions)
	for i := range all {
		all[i].session = newSession(ctx, t, m)
		f.session = all[i].session
		f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "before"})
		all[i].followers = followAll(ctx, t, f, followersOf)
	}
	for i := range all {
		for _, follower := range all[i].followers {
			follower.next(1)
		}
	}
	for round := range 5 {
		for i := range all {
			f.session = all[i].session
			f.add(ctx, t, store.NewMessage{Sender: "alice", Content: fmt.Sprintf("%d to %d", round, i)})
		}
	}
	for i := range all {
		var want []string
		for round := range 5 {
			want = append(want, fmt.Sprintf("%d to %d", round, i))
		}
		for _, follower := range all[i].followers {
			if diff := cmp.Diff(want, textsOf(follower.next(5))); diff != "" {
				t.Fatal("followed (-want +got):\n", diff)
			}
		}
	}
	if n := count(ctx, t, listeners); n != 1 {
		t.Errorf("%d connections listen, want 1", n)
	}
	if n := count(ctx, t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"); n > 5 {
		t.Errorf("%d connections, want at most the 4 of the pool and 1", n)
	}
}

// A follower that does not come to read for a while misses nothing, and the others do not wait for it.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "first"})
	next, stop := iter.Pull2(f.Follow(ctx, store.FollowParams{SessionID: f.session.ID, Reader: alice}))
	defer stop()
	receive := func() store.FollowedMessage {
		event, err, _ := next()
		if err != nil {
			t.Fatal(err)
		}
		return event
	}
	receive()
	second := f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "second"})[0]
	if got := receive(); got.Message.ID != second.ID { // it now receives what comes
		t.Fatalf("got %q", got.Message.Content)
	}
	quick := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	quick.next(2)
	var want []string
	for batch := range 26 {
		messages := make([]store.NewMessage, 500)
		for i := range messages {
			content := fmt.Sprintf("%d.%d", batch, i)
			messages[i] = store.NewMessage{Sender: "alice", Content: content}
			want = append(want, content)
		}
		f.add(ctx, t, messages...)
		if diff := cmp.Diff(want[batch*500:], textsOf(quick.next(500))); diff != "" {
			t.Fatal("the quick one (-want +got):\n", diff)
		}
	}
	got := make([]string, len(want))
	for i := range got {
		got[i] = receive().Message.Content
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("the slow one (-want +got):\n", diff)
	}
}

// Where LISTEN does not work, followers ask from time to time.
func TestFollowByAsking(t *testing.T) {
	t.Parallel()
	config := withoutPooler(storetest.Config(t))
	_, writer := storetest.Open(t, config)
	separator := "?"
	if strings.Contains(config.URL, "?") {
		separator = "&"
	}
	config.URL += separator + "pgbouncer=true"
	ctx, reader := storetest.Open(t, config)
	f := fixture{writer, newSession(ctx, t, writer)}
	following := followSession(ctx, t, reader, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	for i := range 3 {
		content := fmt.Sprint("message ", i)
		f.add(ctx, t, store.NewMessage{Sender: "alice", Content: content})
		if got := textsOf(following.next(1)); !slices.Equal(got, []string{content}) {
			t.Errorf("followed %q, want %q", got, content)
		}
	}
	if n := count(ctx, t, listeners); n != 0 {
		t.Errorf("%d connections listen", n)
	}
}

// What another program has written without telling anybody is found as well.
func TestFollowOfUntoldMessages(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	following := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "told"})
	following.next(1)
	// What concerns others does not keep anybody from asking.
	noise, quiet := context.WithCancel(ctx)
	var talking sync.WaitGroup
	talking.Go(func() {
		for ticker := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-noise.Done():
				return
			case <-ticker.C:
			}
			if _, err := store.ExecuteQuery(ctx, "SELECT pg_notify('sharedcontext', '1')::text"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer talking.Wait()
	defer quiet()
	for i := range 2 { // the first may be found by what was told before
		content := fmt.Sprint("untold ", i)
		if _, err := store.ExecuteUpdate(ctx, "INSERT INTO messages (session_id, sender, content) VALUES (?, 'alice', ?)", f.session.ID, content); err != nil {
			t.Fatal(err)
		}
		if got := textsOf(following.next(1)); !slices.Equal(got, []string{content}) {
			t.Errorf("followed %q, want %q", got, content)
		}
	}
}
