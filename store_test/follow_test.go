package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// following receives from an iterator in the background until a test has what it waits for.
type following[E any] struct {
	t        *testing.T
	received chan E
	ended    chan error
	cancel   context.CancelFunc
}

// follow starts a loop over what with returns. It ends with the test.
func follow[E any](ctx context.Context, t *testing.T, with func(ctx context.Context) iter.Seq2[E, error]) *following[E] {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	f := &following[E]{t: t, received: make(chan E, 10000), ended: make(chan error, 1), cancel: cancel}
	go func() {
		for event, err := range with(ctx) {
			if err != nil {
				f.ended <- err
				return
			}
			f.received <- event
		}
		f.ended <- nil
	}()
	t.Cleanup(func() { f.stop() })
	return f
}

// next waits for n events.
func (f *following[E]) next(n int) []E {
	f.t.Helper()
	var events []E
	for len(events) < n {
		select {
		case event := <-f.received:
			events = append(events, event)
		case err := <-f.ended:
			f.ended <- err
			f.t.Fatalf("followed %d of %d, then: %v", len(events), n, err)
		}
	}
	return events
}

// stop ends the loop and returns its error.
func (f *following[E]) stop() error {
	f.cancel()
	err := <-f.ended
	f.ended <- err
	return err
}

func textsOf(events []store.FollowedMessage) []string {
	texts := make([]string, len(events))
	for i, event := range events {
		texts[i] = event.Message.Content
	}
	return texts
}

// sameMetadata compares JSON by value, as jsonb keeps it.
var sameMetadata = cmp.Comparer(func(a, b json.RawMessage) bool {
	var x, y any
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && cmp.Equal(x, y)
})

func followSession(ctx context.Context, t *testing.T, m *store.Manager, params store.FollowParams) *following[store.FollowedMessage] {
	t.Helper()
	return follow(ctx, t, func(ctx context.Context) iter.Seq2[store.FollowedMessage, error] { return m.Follow(ctx, params) })
}

func TestFollowGivesWhatWasThereAndWhatComes(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	want := f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "before"}, store.NewMessage{
		Sender: "bob", SenderType: "gemini", Content: "also before", MessageType: store.MessageTypeToolResult, Metadata: map[string]any{"a": 1},
	})
	following := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	events := following.next(2)
	for i := range 5 {
		want = append(want, f.add(ctx, t, store.NewMessage{Sender: "alice", Content: fmt.Sprint("after ", i), ParentMessageID: &want[0].ID})...)
	}
	events = append(events, following.next(5)...)
	got := make([]store.Message, len(events))
	for i, event := range events {
		got[i] = event.Message
	}
	if diff := cmp.Diff(want, got, sameMetadata); diff != "" {
		t.Error("followed (-want +got):\n", diff)
	}
	if err := following.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the end: %v", err)
	}

	// From each place, as a restarted follower would find it, the rest comes and nothing else.
	for i, event := range events {
		text, err := event.Cursor.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var cursor store.FollowCursor
		if err := cursor.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		resumed := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice, After: cursor})
		rest := textsOf(resumed.next(len(events) - i - 1))
		if diff := cmp.Diff(textsOf(events[i+1:]), rest); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", text, diff)
		}
		last := f.add(ctx, t, store.NewMessage{Sender: "alice", Content: fmt.Sprint("later ", i)})[0]
		var came []int64 // those of the rounds before come first
		for _, event := range resumed.next(1 + i) {
			came = append(came, event.Message.ID)
		}
		want = append(want, last)
		var ids []int64
		for _, message := range want[len(events):] {
			ids = append(ids, message.ID)
		}
		if diff := cmp.Diff(ids, came); diff != "" {
			t.Errorf("after %s came later (-want +got):\n%s", text, diff)
		}
	}
}

func TestFollowFromNow(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "old"})
	cursor, err := f.LatestFollowCursor(ctx, f.session.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "new"})
	following := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice, After: cursor})
	if diff := cmp.Diff([]string{"new"}, textsOf(following.next(1))); diff != "" {
		t.Error("followed (-want +got):\n", diff)
	}
	if _, err := f.LatestFollowCursor(ctx, unknownSession); !errors.Is(err, store.ErrSessionNotFound) {
		t.Errorf("of an unknown session: %v", err)
	}
}

// Each kind of reader receives what it may read, of what was there and of what comes.
func TestFollowShowsWhatTheReaderMaySee(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	readers := []store.Reader{
		admin, alice, {AgentID: "bob"}, {AgentID: "carol", AgentType: "gemini"}, {AgentID: "dave", AgentType: "claude"},
	}
	addAll := func() {
		for _, sender := range readers {
			for _, level := range []store.Visibility{store.VisibilityPublic, store.VisibilityPrivate, store.VisibilityAgentOnly, store.VisibilityAdminOnly} {
				f.add(ctx, t, store.NewMessage{
					Sender: sender.AgentID, SenderType: sender.AgentType, Content: fmt.Sprintf("%s to %s", sender.AgentID, level),
					Visibility: level, Admin: true,
				})
			}
		}
	}
	addAll()
	received := make([]*following[store.FollowedMessage], len(readers))
	for i, reader := range readers {
		received[i] = followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: reader})
	}
	before := make([][]store.FollowedMessage, len(readers))
	for i, reader := range readers {
		page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: reader, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		before[i] = received[i].next(len(page.Messages))
	}
	addAll()
	// The last message is one that all may see: whoever has it was given everything before.
	end := f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "end"})[0]
	for i, reader := range readers {
		page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: reader, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		var want, got []int64
		for _, message := range page.Messages {
			want = append(want, message.ID)
		}
		events := before[i]
		for len(events) == 0 || events[len(events)-1].Message.ID != end.ID {
			events = append(events, received[i].next(1)...)
		}
		for _, event := range events {
			got = append(got, event.Message.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v followed (-may see +got):\n%s", reader, diff)
		}
	}
}

// A message that was given its id and time early but is committed late neither holds up the others nor is it missed, nor
// by a follower that goes on from a place that was passed in the meantime.
func TestFollowOfSlowTransaction(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	following := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	write, commit, committed := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		committed <- f.InTx(ctx, func(ctx context.Context) error {
			// Two, so that the follower meets them in one page, and one in a savepoint.
			if _, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "alice", Content: "slow 1"}); err != nil {
				return err
			}
			err := f.InTx(ctx, func(ctx context.Context) error {
				_, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "alice", Content: "slow 2"})
				return err
			})
			close(write)
			<-commit
			return err
		})
	}()
	<-write
	f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "quick 1"})
	events := following.next(1)
	f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "quick 2"})
	events = append(events, following.next(1)...)
	close(commit)
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	events = append(events, following.next(2)...)
	want := []string{"quick 1", "quick 2", "slow 1", "slow 2"}
	if diff := cmp.Diff(want, textsOf(events)); diff != "" {
		t.Error("followed (-want +got):\n", diff)
	}
	resumed := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice, After: events[0].Cursor})
	got := textsOf(resumed.next(3))
	slices.Sort(got)
	if diff := cmp.Diff(want[1:], got); diff != "" {
		t.Error("followed from the first (-want +got):\n", diff)
	}
}

// A transaction that is rolled back is never seen, and does not hold up the others.
func TestFollowOfRolledBackTransaction(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	following := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	errBack := errors.New("back")
	if err := f.InTx(ctx, func(ctx context.Context) error {
		f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "taken back"})
		return errBack
	}); !errors.Is(err, errBack) {
		t.Fatal(err)
	}
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "stays"})
	if diff := cmp.Diff([]string{"stays"}, textsOf(following.next(1))); diff != "" {
		t.Error("followed (-want +got):\n", diff)
	}
}

func TestFollowRefuses(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, f := setup(t)
	first := func(params store.FollowParams) error {
		for _, err := range f.Follow(ctx, params) {
			return err
		}
		return nil
	}
	wantInvalid(t, first(store.FollowParams{SessionID: "x", Reader: alice}), "session_id")
	wantInvalid(t, first(store.FollowParams{SessionID: f.session.ID}), "agent_id")
	if err := first(store.FollowParams{SessionID: unknownSession, Reader: alice}); !errors.Is(err, store.ErrSessionNotFound) {
		t.Errorf("unknown session: %v", err)
	}
	var ahead store.FollowCursor
	if err := ahead.UnmarshalText([]byte("4000000000:4000000000:")); err != nil {
		t.Fatal(err)
	}
	if err := first(store.FollowParams{SessionID: f.session.ID, Reader: alice, After: ahead}); !errors.Is(err, store.ErrCursorAhead) {
		t.Errorf("cursor of another database: %v", err)
	}
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "restored"})
	if _, err := store.ExecuteUpdate(ctx, "UPDATE messages SET transaction_id = '4000000000'::xid8 WHERE true"); err != nil {
		t.Fatal(err)
	}
	if err := first(store.FollowParams{SessionID: f.session.ID, Reader: alice}); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("rows of another server: %v", err)
	}
}

// A session that is deleted ends its followers, and so does the end of the manager.
func TestFollowEnds(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	other := newSession(ctx, t, f.Manager)
	ofDeleted := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: f.session.ID, Reader: alice})
	ofOther := followSession(ctx, t, f.Manager, store.FollowParams{SessionID: other.ID, Reader: alice})
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "hello"})
	ofDeleted.next(1)
	if err := f.DeleteSession(ctx, f.session.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := <-ofDeleted.ended; !errors.Is(err, store.ErrSessionNotFound) {
		t.Errorf("of a deleted session: %v", err)
	} else {
		ofDeleted.ended <- err
	}
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-ofOther.ended; !errors.Is(err, store.ErrManagerClosed) {
		t.Errorf("of a closed manager: %v", err)
	} else {
		ofOther.ended <- err
	}
	for _, err := range f.Follow(ctx, store.FollowParams{SessionID: other.ID, Reader: alice}) {
		if !errors.Is(err, store.ErrManagerClosed) {
			t.Errorf("a follower of a closed manager: %v", err)
		}
	}
}

// A loop that is left early leaves nothing behind; goleak looks at the end.
func TestFollowIsLeft(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "one"}, store.NewMessage{Sender: "alice", Content: "two"})
	for range 3 {
		for event, err := range f.Follow(ctx, store.FollowParams{SessionID: f.session.ID, Reader: alice}) {
			if err != nil {
				t.Fatal(err)
			}
			if event.Message.Content != "one" {
				t.Errorf("first came %q", event.Message.Content)
			}
			break
		}
	}
}

func TestFollowMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	set := func(session, key, value string) {
		t.Helper()
		if _, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: session, Key: key, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	set("", "plan", "first")
	past := time.Now().Add(-time.Hour)
	if _, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "expired", Value: "gone", TTL: time.Minute, Now: &past}); err != nil {
		t.Fatal(err)
	}
	set(f.session.ID, "step", "of the session")
	followMemory := func(params store.FollowMemoryParams) *following[store.FollowedMemory] {
		return follow(ctx, t, func(ctx context.Context) iter.Seq2[store.FollowedMemory, error] { return f.FollowMemory(ctx, params) })
	}
	global := followMemory(store.FollowMemoryParams{AgentID: "alice"})
	ofSession := followMemory(store.FollowMemoryParams{AgentID: "alice", SessionID: f.session.ID})
	events := global.next(1)
	set("", "goal", "second")
	events = append(events, global.next(1)...)
	set("", "plan", "third")
	events = append(events, global.next(1)...)
	var got []string
	for _, event := range events {
		got = append(got, event.Entry.Key+"="+event.Entry.Value)
	}
	if diff := cmp.Diff([]string{"plan=first", "goal=second", "plan=third"}, got); diff != "" {
		t.Error("global memory (-want +got):\n", diff)
	}
	entry, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", Key: "plan"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entry, events[2].Entry); diff != "" {
		t.Error("the entry (-read +followed):\n", diff)
	}
	if got := ofSession.next(1)[0].Entry; got.Key != "step" || got.SessionID != f.session.ID {
		t.Errorf("memory of the session: %+v", got)
	}
	// From the first, the second comes, and the first again as it is now.
	resumed := followMemory(store.FollowMemoryParams{AgentID: "alice", After: events[0].Cursor}).next(2)
	if resumed[0].Entry.Key != "goal" || resumed[1].Entry.Value != "third" {
		t.Errorf("after the first: %+v", resumed)
	}
	for _, err := range f.FollowMemory(ctx, store.FollowMemoryParams{AgentID: "alice", SessionID: unknownSession}) {
		if !errors.Is(err, store.ErrSessionNotFound) {
			t.Errorf("unknown session: %v", err)
		}
	}
	for _, err := range f.FollowMemory(ctx, store.FollowMemoryParams{AgentID: "-"}) {
		wantInvalid(t, err, "agent_id")
	}
}
