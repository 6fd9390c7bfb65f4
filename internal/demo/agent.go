package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// readBackEvery is after how many of its messages an agent looks at what it has just written.
	readBackEvery = 8
	readBackPage  = 10
)

// play adds the messages of one agent, one after the other. A reply waits until its parent is there. The agents cannot
// wait for each other in a circle, since every parent is on an earlier line than its reply, and every agent follows the
// order of the lines.
func (p *playback) play(ctx context.Context, agent *Agent) error {
	for i, entry := range agent.Entries {
		var parent *int64
		if entry.Parent != nil {
			awaited := p.written[entry.Parent.index]
			select {
			case <-awaited.done:
				parent = &awaited.id
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := p.add(ctx, entry, parent); err != nil {
			return fmt.Errorf("%s: line %d: %w", p.transcript.Name, entry.Line, err)
		}
		p.progress.Add(1)
		if (i+1)%readBackEvery == 0 {
			if err := p.readBack(ctx, entry); err != nil {
				return fmt.Errorf("%s: line %d: %w", p.transcript.Name, entry.Line, err)
			}
		}
	}
	return nil
}

// add writes one message and looks at what the store says it has stored.
func (p *playback) add(ctx context.Context, entry *Entry, parent *int64) error {
	message := store.NewMessage{
		Sender: entry.Sender, SenderType: entry.SenderType, Content: entry.Content,
		Visibility: store.Visibility(entry.Visibility), ParentMessageID: parent, Timestamp: entry.Time,
		Admin: p.transcript.conversations[entry.Session].Admins[entry.Sender],
	}
	if entry.Metadata != nil {
		message.Metadata = entry.Metadata
	}
	start := time.Now()
	added, err := p.manager.AddMessage(ctx, p.sessions[entry.Session].ID, message)
	if err != nil {
		return err
	}
	p.adds.Record(time.Since(start))
	w := p.written[entry.index]
	w.id = added.ID
	p.compare(p.where(entry.Session, p.readerOf(entry), "answer to the write"), w, &added)
	close(w.done)
	return nil
}

// readBack reads on from a message that its agent has just written: the page must begin with it, and hold nothing that
// the agent may not see, whatever the others write meanwhile.
func (p *playback) readBack(ctx context.Context, entry *Entry) error {
	reader, w := p.readerOf(entry), p.written[entry.index]
	where := p.where(entry.Session, reader, "own message, right after the write")
	page, err := p.page(ctx, store.GetMessagesParams{
		SessionID: where.sessionID, Reader: reader.forStore(), Limit: readBackPage,
		After: &store.MessageCursor{Timestamp: entry.Time, ID: w.id - 1},
	})
	if err != nil {
		return err
	}
	if len(page.Messages) == 0 || page.Messages[0].ID != w.id {
		p.findings.add(where.mismatch(w, "it is not there"))
		return nil
	}
	p.compare(where, w, &page.Messages[0])
	for i := range page.Messages {
		m := &page.Messages[i]
		if !reader.maySee(&Entry{Sender: m.Sender, SenderType: m.SenderType, Visibility: string(m.Visibility)}) {
			p.findings.add(where.strange(m.ID, fmt.Sprintf("it is %s by %s, which this reader may not see", m.Visibility, m.Sender)))
		}
	}
	return nil
}

// readerOf returns the sender of an entry as a reader of its session.
func (p *playback) readerOf(entry *Entry) reader {
	return reader{
		agent: entry.Sender, kind: clean(entry.SenderType), admin: p.transcript.conversations[entry.Session].Admins[entry.Sender],
	}
}

// page is GetMessages with its latency recorded.
func (p *playback) page(ctx context.Context, params store.GetMessagesParams) (store.MessagePage, error) {
	start := time.Now()
	page, err := p.manager.GetMessages(ctx, params)
	if err == nil {
		p.pages.Record(time.Since(start))
	}
	return page, err
}

func (r reader) forStore() store.Reader {
	return store.Reader{AgentID: r.agent, AgentType: r.kind, Admin: r.admin}
}
