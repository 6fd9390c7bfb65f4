package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// answersPerSession and sendersPerSession bound the threads and the senders that are asked for in a session.
	answersPerSession = 3
	sendersPerSession = 4
	// threadMessages is how many messages a thread holds at most, by its documentation.
	threadMessages = 1000
)

// readMessages reads sessions of the transcript by sender, by time and by thread, and counts them, as several readers.
func (o *operations) readMessages(ctx context.Context, at where) error {
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	type task struct {
		conversation *Conversation
		reader       reader
	}
	var tasks []task
	for _, conversation := range o.chosen {
		for _, r := range spread(o.readersOf(conversation), operationReaders) {
			tasks = append(tasks, task{conversation, r})
		}
	}
	return sideBySide(ctx, o, tasks, func(ctx context.Context, t task) error {
		all := o.inOrder(t.conversation)
		want := slices.DeleteFunc(slices.Clone(all), func(w *written) bool { return !t.reader.maySee(w.entry) })
		at := o.where(t.conversation.ID, t.reader, at.read)
		for _, read := range []func() error{
			func() error { return o.readBySender(ctx, at, t.conversation, t.reader, want) },
			func() error { return o.readByTime(ctx, at, t.reader, all, want) },
			func() error { return o.readThreads(ctx, at, t.reader, all) },
			func() error { return o.countMessages(ctx, at, t.reader, want) },
		} {
			if err := read(); isAnswer(err) {
				o.wrong(at, "unexpected answer: %v", err)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}

func (o *operations) readBySender(ctx context.Context, at where, conversation *Conversation, r reader, want []*written) error {
	at.read += ": by sender"
	senders := make(map[string]bool)
	for _, entry := range conversation.Entries {
		senders[entry.Sender] = true
	}
	for _, sender := range spread(slices.Sorted(maps.Keys(senders)), sendersPerSession) {
		bySender := slices.DeleteFunc(slices.Clone(want), func(w *written) bool { return w.entry.Sender != sender })
		slices.Reverse(bySender)
		size := 1 + len(bySender)/3
		var before *store.MessageCursor
		var got []store.Message
		for more := true; more; {
			o.called("ListMessagesBySender")
			page, err := o.manager.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{
				SessionID: at.sessionID, Reader: r.forStore(), Sender: sender, Limit: size, Before: before,
			})
			if err != nil {
				return err
			}
			got = append(got, page.Messages...)
			next := page.Next
			before, more = &next, o.goesOn(at, &page, len(got), len(bySender), size)
		}
		o.compareAll(at, bySender, got)
	}
	return nil
}

// goesOn says whether another page must be read, and reports a promise that cannot be kept.
func (o *operations) goesOn(at where, page *store.MessagePage, got, want, size int) bool {
	if page.HasMore && (len(page.Messages) != size || got >= want) {
		o.wrong(at, "more is promised behind %d of %d messages, on a page of %d", got, want, len(page.Messages))
		return false
	}
	return page.HasMore
}

// readByTime reads what lies before the time of the message in the middle, and what does not.
func (o *operations) readByTime(ctx context.Context, at where, r reader, all, want []*written) error {
	at.read += ": by time"
	middle := all[len(all)/2].entry.Time
	isEarly := func(w *written) bool { return w.entry.Time.Before(middle) }
	for _, half := range []struct {
		from, until time.Time
		want        []*written
	}{
		{until: middle, want: slices.DeleteFunc(slices.Clone(want), func(w *written) bool { return !isEarly(w) })},
		{from: middle, want: slices.DeleteFunc(slices.Clone(want), isEarly)},
		{from: middle, until: middle},
	} {
		size := min(1+len(half.want)/2, offsetPage)
		var after *store.MessageCursor
		var got []store.Message
		for more := true; more; {
			o.called("ListMessagesByTime")
			page, err := o.manager.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{
				SessionID: at.sessionID, Reader: r.forStore(), From: half.from, Until: half.until, Limit: size, After: after,
			})
			if err != nil {
				return err
			}
			got = append(got, page.Messages...)
			next := page.Next
			after, more = &next, o.goesOn(at, &page, len(got), len(half.want), size)
		}
		o.compareAll(at, half.want, got)
	}
	return nil
}

// readThreads asks for the threads of some answers. One that the reader may not see has none.
func (o *operations) readThreads(ctx context.Context, at where, r reader, all []*written) error {
	at.read += ": thread"
	answers := slices.DeleteFunc(slices.Clone(all), func(w *written) bool { return w.entry.Parent == nil })
	for _, answer := range spread(answers, answersPerSession) {
		o.called("GetMessageThread")
		got, err := o.manager.GetMessageThread(ctx, at.sessionID, answer.id, r.forStore())
		if !r.maySee(answer.entry) {
			if err := o.refused(at, fmt.Sprintf("thread of message %d, which the reader may not see", answer.id), err, store.ErrMessageNotFound); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, store.ErrMessageNotFound) {
			o.findings.add(at.mismatch(answer, "it is missing"))
			continue
		}
		if err != nil {
			return err
		}
		root := rootOf(answer.entry)
		want := slices.DeleteFunc(slices.Clone(all), func(w *written) bool { return rootOf(w.entry) != root || !r.maySee(w.entry) })
		o.compareAll(at, want[:min(threadMessages, len(want))], got)
	}
	return nil
}

// rootOf returns the message at the beginning of a thread.
func rootOf(entry *Entry) *Entry {
	for entry.Parent != nil {
		entry = entry.Parent
	}
	return entry
}

func (o *operations) countMessages(ctx context.Context, at where, r reader, want []*written) error {
	at.read += ": counts"
	o.called("CountMessages")
	got, err := o.manager.CountMessages(ctx, at.sessionID, r.forStore())
	if err != nil {
		return err
	}
	byVisibility, bySender := make(map[store.Visibility]int64), make(map[string]int64)
	for _, w := range want {
		byVisibility[store.Visibility(w.entry.Visibility)]++
		bySender[w.entry.Sender]++
	}
	if got.Total != int64(len(want)) {
		o.wrong(at, "the total is %d, not %d", got.Total, len(want))
	}
	if !maps.Equal(got.ByVisibility, byVisibility) {
		o.wrong(at, "by visibility there are %v, not %v", got.ByVisibility, byVisibility)
	}
	if !maps.Equal(got.BySender, bySender) {
		o.wrong(at, "the counts by sender are others than those of %d senders in the transcript", len(bySender))
	}
	return nil
}
