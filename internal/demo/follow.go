package demo

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// followLimit is how long a follower may wait for what is already there.
const followLimit = 5 * time.Second

// followMessages follows sessions of the transcript from their start, as several readers.
func (o *operations) followMessages(ctx context.Context, _ where) error {
	return sideBySide(ctx, o, o.chosen, func(ctx context.Context, conversation *Conversation) error {
		for _, r := range spread(o.readersOf(conversation), operationReaders) {
			want := slices.DeleteFunc(o.inOrder(conversation), func(w *written) bool { return !r.maySee(w.entry) })
			if err := o.follow(ctx, o.where(conversation.ID, r, "follow"), r, want, store.FollowCursor{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// follow receives as many messages behind a cursor as are wanted and compares them, whatever their order: that of commits.
// Where one has not come in time, no other follower is made to wait.
func (o *operations) follow(ctx context.Context, at where, r reader, want []*written, after store.FollowCursor) error {
	if len(want) == 0 || o.missed.Load() {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	o.called("Follow")
	var got []store.Message
	for event, err := range o.manager.Follow(waiting, store.FollowParams{SessionID: at.sessionID, Reader: r.forStore(), After: after}) {
		if waiting.Err() != nil && ctx.Err() == nil { // what has not come is missing
			o.missed.Store(true)
			break
		}
		if err != nil {
			return err
		}
		if got = append(got, event.Message); len(got) == len(want) {
			break
		}
	}
	slices.SortFunc(got, func(a, b store.Message) int {
		return cmp.Or(a.Timestamp.Compare(b.Timestamp), cmp.Compare(a.ID, b.ID))
	})
	o.compareAll(at, want, got)
	return nil
}

// followMemory receives the global memory of this run's agent.
func (o *operations) followMemory(ctx context.Context, at where) error {
	want := make(map[memoryName]*memoryWant)
	for name, entry := range o.memory {
		if name.agent == o.agent && name.session == "" {
			want[name] = entry
		}
	}
	waiting, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	o.called("FollowMemory")
	for event, err := range o.manager.FollowMemory(waiting, store.FollowMemoryParams{AgentID: o.agent}) {
		if waiting.Err() != nil && ctx.Err() == nil {
			o.wrong(at, "followed memory: %d entries have not come", len(want))
			return nil
		}
		if err != nil {
			return err
		}
		name := memoryName{o.agent, "", event.Entry.Key}
		if want[name] == nil {
			o.wrong(at, "followed memory: %q came, which is not there or came before", event.Entry.Key)
			return nil
		}
		o.compareMemory(at, name, want[name], &event.Entry)
		if delete(want, name); len(want) == 0 {
			return nil
		}
	}
	return nil
}
