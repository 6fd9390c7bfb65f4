package demo

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// batchMessages is how many messages of the transcript are added at once.
	batchMessages = 25
	// retries is how many clients send the same message under one key at the same time.
	retries = 6
	// unknownSession has the form of an id and is none.
	unknownSession = "session_0000000000000000"
)

// writeMessages makes the session of this run and writes to it: many messages at once, and one several times.
func (o *operations) writeMessages(ctx context.Context, at where) error {
	o.called("CreateSession")
	session, err := o.manager.CreateSession(context.WithoutCancel(ctx), store.CreateSessionParams{
		Purpose: "demonstration " + o.run, CreatedBy: o.agent, Metadata: map[string]string{"run": o.run},
	})
	if err != nil {
		return err
	}
	o.session = session
	o.caused(o.agent, "session_created")
	at.sessionID = session.ID
	o.called("LatestFollowCursor")
	start, err := o.manager.LatestFollowCursor(ctx, session.ID)
	if err != nil {
		return err
	}
	if err := o.addBatch(ctx, at); err != nil {
		return err
	}
	if err := o.addOnce(ctx, at); err != nil {
		return err
	}
	if err := o.addRefused(ctx, at); err != nil {
		return err
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	for _, r := range []reader{o.admin, {agent: o.agent}, {agent: o.other, kind: clean(o.own[0].entry.SenderType)}} {
		if err := o.readOwn(ctx, at, r); err != nil {
			return err
		}
		if err := o.follow(ctx, at, r, o.ownFor(r), start); err != nil {
			return err
		}
	}
	return nil
}

// addBatch adds the beginning of the transcript again, its messages as those of this run's agent.
func (o *operations) addBatch(ctx context.Context, at where) error {
	entries := o.transcript.Entries[:min(batchMessages, len(o.transcript.Entries))]
	batch := make([]store.NewMessage, len(entries))
	want := make([]*written, len(entries))
	for i, entry := range entries {
		line := *entry
		line.Sender, line.Parent = o.agent, nil
		want[i] = &written{entry: &line}
		batch[i] = store.NewMessage{
			Sender: line.Sender, SenderType: line.SenderType, Content: line.Content, Visibility: store.Visibility(line.Visibility),
			Timestamp: line.Time, Admin: line.Visibility == adminOnly,
		}
		if line.Metadata != nil {
			batch[i].Metadata = line.Metadata
		}
	}
	o.called("AddMessages")
	got, err := o.manager.AddMessages(ctx, at.sessionID, batch)
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d messages were added at once, and %d came back", len(want), len(got)) // the rest builds on them
	}
	for i, w := range want {
		w.id = got[i].ID
		o.compare(at, w, &got[i])
		o.caused(o.agent, "message_added")
		if i > 0 && w.id <= want[i-1].id {
			o.findings.add(at.mismatch(w, "its id does not follow that of the message before"))
		}
	}
	o.own = append(o.own, want...)
	return nil
}

// addOnce sends one message under a key from several clients at once, and then another one under that key.
func (o *operations) addOnce(ctx context.Context, at where) error {
	line := *o.transcript.Entries[len(o.transcript.Entries)-1]
	line.Sender, line.Visibility, line.Metadata = o.agent, public, nil
	parent := o.own[0]
	message := store.NewMessage{
		Sender: line.Sender, SenderType: line.SenderType, Content: line.Content, Timestamp: line.Time,
		IdempotencyKey: operationPrefix + o.run,
	}
	line.Parent = nil
	answers := make([]store.Message, retries)
	places := make([]int, retries)
	for i := range places {
		places[i] = i
	}
	err := sideBySide(ctx, o, places, func(ctx context.Context, i int) (err error) {
		o.called("AddMessage")
		answers[i], err = o.manager.AddMessage(ctx, at.sessionID, message)
		return err
	})
	if err != nil {
		return err
	}
	w := &written{entry: &line, id: answers[0].ID}
	o.own = append(o.own, w)
	o.caused(o.agent, "message_added")
	for i := range answers {
		if answers[i].ID != w.id {
			o.wrong(at, "one message was sent %d times under one key and became the messages %d and %d", retries, w.id, answers[i].ID)
		}
		o.compare(at, w, &answers[i])
	}
	other := message
	other.Content = "another message than that of " + o.run
	o.called("AddMessage")
	_, err = o.manager.AddMessage(ctx, at.sessionID, other)
	if err := o.refused(at, "another message under the same key", err, store.ErrIdempotencyConflict); err != nil {
		return err
	}
	other = message
	other.ParentMessageID = &parent.id
	o.called("AddMessages")
	_, err = o.manager.AddMessages(ctx, at.sessionID, []store.NewMessage{{Sender: o.agent, Content: "must not stay"}, other})
	return o.refused(at, "many messages, one of them another under the same key", err, store.ErrIdempotencyConflict)
}

// addRefused sends what must not be added.
func (o *operations) addRefused(ctx context.Context, at where) error {
	foreign := o.written[0].id // of another session
	for _, test := range []struct {
		what, session string
		message       store.NewMessage
		want          error
	}{
		{"message for an unknown session", unknownSession, store.NewMessage{}, store.ErrSessionNotFound},
		{"answer to a message of another session", at.sessionID, store.NewMessage{ParentMessageID: &foreign}, store.ErrMessageNotFound},
		{"admin_only by an agent", at.sessionID, store.NewMessage{Visibility: store.VisibilityAdminOnly}, store.ErrPermission},
	} {
		test.message.Sender, test.message.Content = o.agent, "must not stay"
		o.called("AddMessage")
		_, err := o.manager.AddMessage(ctx, test.session, test.message)
		if err := o.refused(at, test.what, err, test.want); err != nil {
			return err
		}
	}
	return nil
}

// ownFor returns what a reader may see of the session of this run, oldest first.
func (o *operations) ownFor(r reader) []*written {
	own := slices.DeleteFunc(slices.Clone(o.own), func(w *written) bool { return !r.maySee(w.entry) })
	slices.SortFunc(own, func(a, b *written) int { return cmp.Or(a.entry.Time.Compare(b.entry.Time), cmp.Compare(a.id, b.id)) })
	return own
}

// readOwn reads the session of this run as a reader.
func (o *operations) readOwn(ctx context.Context, at where, r reader) error {
	at.reader = r.String()
	want := o.ownFor(r)
	o.called("GetMessages")
	page, err := o.manager.GetMessages(ctx, store.GetMessagesParams{SessionID: at.sessionID, Reader: r.forStore(), Limit: 10 * batchMessages})
	if err != nil {
		return err
	}
	o.compareAll(at, want, page.Messages)
	o.called("GetSession")
	detail, err := o.manager.GetSession(ctx, at.sessionID, r.forStore())
	if err != nil {
		return err
	}
	slices.Reverse(want)
	o.compareAll(at, want[:min(latestMessages, len(want))], detail.Messages)
	return nil
}
