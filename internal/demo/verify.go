package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// The largest pages. Shorter sessions are read in shorter ones, as the mistakes of paging are at its seams.
	cursorPage = 100
	offsetPage = 250
	// latestMessages is how many messages GetSession gives, by its documentation.
	latestMessages = 50
)

// verify reads everything as everyone and compares.
func (p *playback) verify(ctx context.Context) error {
	p.verifyIDs()
	p.strangers = []string{p.unusedAgent("stranger"), p.unusedAgent("inspector")}

	type task struct {
		conversation *Conversation
		all          []*written
		reader       reader
	}
	var tasks []task
	for _, conversation := range p.transcript.Conversations {
		all := p.inOrder(conversation)
		for _, reader := range p.readersOf(conversation) {
			tasks = append(tasks, task{conversation, all, reader})
		}
	}
	p.progress.Start("reading everything as everyone", len(tasks))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(2 * p.connections)
	for _, t := range tasks {
		group.Go(func() error {
			if err := groupCtx.Err(); err != nil {
				return context.Cause(groupCtx)
			}
			want := slices.DeleteFunc(slices.Clone(t.all), func(w *written) bool { return !t.reader.maySee(w.entry) })
			if err := p.verifySession(groupCtx, t.conversation, t.reader, want); err != nil {
				return err
			}
			p.reads.Add(1)
			p.progress.Add(1)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.verifyLists(ctx)
}

// inOrder returns the messages of a session as every reader must get them: by time, and by id where times are equal.
func (p *playback) inOrder(conversation *Conversation) []*written {
	all := make([]*written, 0, len(conversation.Entries))
	for _, entry := range conversation.Entries {
		all = append(all, p.written[entry.index])
	}
	slices.SortFunc(all, func(a, b *written) int {
		return cmp.Or(a.entry.Time.Compare(b.entry.Time), cmp.Compare(a.id, b.id))
	})
	return all
}

// readersOf returns who reads a session: each of its senders in each of its kinds, a stranger without a kind, one of
// each kind that has written agent_only messages, and an admin who has never written.
func (p *playback) readersOf(conversation *Conversation) []reader {
	var readers []reader
	known := make(map[reader]bool)
	add := func(r reader) {
		if !known[r] {
			known[r] = true
			readers = append(readers, r)
		}
	}
	for _, entry := range conversation.Entries {
		add(p.readerOf(entry))
	}
	add(reader{agent: p.strangers[0]})
	for _, entry := range conversation.Entries {
		if entry.Visibility == agentOnly {
			add(reader{agent: p.strangers[0], kind: clean(entry.SenderType)})
		}
	}
	add(reader{agent: p.strangers[1], admin: true})
	return readers
}

// unusedAgent returns an agent id that the transcript does not have.
func (p *playback) unusedAgent(name string) string {
	id := name
	for n := 2; slices.ContainsFunc(p.transcript.Agents, func(a *Agent) bool { return a.ID == id }); n++ {
		id = fmt.Sprintf("%s-%d", name, n)
	}
	return id
}

// verifyIDs checks what writing at the same time could have spoiled: no id was given twice, an agent's messages follow
// one another, and a reply follows its parent.
func (p *playback) verifyIDs() {
	seen := make(map[int64]*written, len(p.written))
	last := make(map[string]*written) // by agent
	for _, w := range p.written {
		at := p.where(w.entry.Session, p.readerOf(w.entry), "ids given")
		if other := seen[w.id]; other != nil {
			p.findings.add(at.mismatch(w, fmt.Sprintf("line %d has the same id", other.entry.Line)))
		}
		seen[w.id] = w
		if before := last[w.entry.Sender]; before != nil && before.id >= w.id {
			p.findings.add(at.mismatch(w, fmt.Sprintf("it was added after line %d, which has the id %d", before.entry.Line, before.id)))
		}
		last[w.entry.Sender] = w
		if parent := w.entry.Parent; parent != nil && p.written[parent.index].id >= w.id {
			p.findings.add(at.mismatch(w, fmt.Sprintf("it was added after its parent, which has the id %d", p.written[parent.index].id)))
		}
	}
}

// verifySession reads one session as one reader, in every way there is.
func (p *playback) verifySession(ctx context.Context, conversation *Conversation, r reader, want []*written) error {
	for _, read := range []struct {
		name   string
		verify func(context.Context, where, *Conversation, reader, []*written) error
	}{
		{"pages by cursor", p.verifyCursorPages},
		{"pages by offset", p.verifyOffsetPages},
		{"latest messages", p.verifyLatest},
		{"filters", p.verifyFilters},
	} {
		at := p.where(conversation.ID, r, read.name)
		err := read.verify(ctx, at, conversation, r, want)
		if errors.Is(err, store.ErrSessionNotFound) {
			p.findings.add(at.general("the session is missing"))
			continue
		}
		if err != nil {
			return fmt.Errorf("read session %s as %s, %s: %w", at.sessionID, at.reader, at.read, err)
		}
	}
	return nil
}

func (p *playback) verifyCursorPages(ctx context.Context, at where, _ *Conversation, r reader, want []*written) error {
	var got []store.Message
	size := cursorPageSize(want)
	after := store.MessageCursor{}
	for more := true; more; {
		page, err := p.page(ctx, store.GetMessagesParams{
			SessionID: at.sessionID, Reader: r.forStore(), Limit: size, After: &after,
		})
		if err != nil {
			return err
		}
		got = append(got, page.Messages...)
		after, more = page.Next, page.HasMore
		if more && (len(page.Messages) != size || len(got) >= len(want)) {
			p.findings.add(at.general(fmt.Sprintf("more is promised behind %d of %d messages, on a page of %d",
				len(got), len(want), len(page.Messages))))
			break
		}
	}
	p.compareAll(at, want, got)
	p.messagesRead.Add(int64(len(got)))
	return nil
}

// cursorPageSize returns a size that gives several pages. If messages of the same time can be torn apart by a seam of not
// too small pages, they are: that is where a cursor needs more than the time.
func cursorPageSize(want []*written) int {
	for i := 1 + len(want)/50; i < len(want) && i <= cursorPage; i++ {
		if want[i-1].entry.Time.Equal(want[i].entry.Time) {
			return i
		}
	}
	return min(1+len(want)/3, cursorPage)
}

func (p *playback) verifyOffsetPages(ctx context.Context, at where, _ *Conversation, r reader, want []*written) error {
	var got []store.Message
	size := min(1+len(want)/2, offsetPage)
	for more := true; more; {
		page, err := p.page(ctx, store.GetMessagesParams{
			SessionID: at.sessionID, Reader: r.forStore(), Limit: size, Offset: len(got),
		})
		if err != nil {
			return err
		}
		if page.TotalCount != int64(len(want)) {
			p.findings.add(at.general(fmt.Sprintf("total_count is %d, not %d", page.TotalCount, len(want))))
		}
		got = append(got, page.Messages...)
		more = page.HasMore
		if more && (len(page.Messages) != size || len(got) >= len(want)) {
			p.findings.add(at.general(fmt.Sprintf("more is promised behind %d of %d messages, on a page of %d",
				len(got), len(want), len(page.Messages))))
			break
		}
	}
	p.compareAll(at, want, got)
	p.messagesRead.Add(int64(len(got)))
	return nil
}

// verifyLatest compares GetSession: the session itself, and its latest messages, newest first.
func (p *playback) verifyLatest(ctx context.Context, at where, conversation *Conversation, r reader, want []*written) error {
	detail, err := p.manager.GetSession(ctx, at.sessionID, r.forStore())
	if err != nil {
		return err
	}
	p.compareSession(at, conversation, detail.Session)
	latest := slices.Clone(want[max(0, len(want)-latestMessages):])
	slices.Reverse(latest)
	p.compareAll(at, latest, detail.Messages)
	p.messagesRead.Add(int64(len(detail.Messages)))
	return nil
}

func (p *playback) compareSession(at where, conversation *Conversation, got store.Session) {
	created := p.sessions[conversation.ID]
	if want := clean(conversation.Purpose); got.Purpose != want {
		p.findings.add(at.general(fmt.Sprintf("purpose is %.100q, not %.100q", got.Purpose, want)))
	}
	if got.CreatedBy != conversation.CreatedBy {
		p.findings.add(at.general(fmt.Sprintf("created_by is %q, not %q", got.CreatedBy, conversation.CreatedBy)))
	}
	if want := sessionMetadata(conversation); !sameJSON(got.Metadata, want) {
		p.findings.add(at.general(fmt.Sprintf("the session's metadata is %.200s, not %s", orNone(got.Metadata), want)))
	}
	if !got.IsActive {
		p.findings.add(at.general("the session is inactive"))
	}
	if !got.CreatedAt.Equal(created.CreatedAt) {
		p.findings.add(at.general("created_at is not what creating the session returned"))
	}
}

// verifyFilters asks for each level alone: a filter shows what the reader sees of that level, and never more.
func (p *playback) verifyFilters(ctx context.Context, at where, _ *Conversation, r reader, want []*written) error {
	for _, level := range levels {
		at := at
		at.read = "filter " + level
		ofLevel := slices.DeleteFunc(slices.Clone(want), func(w *written) bool { return w.entry.Visibility != level })
		page, err := p.page(ctx, store.GetMessagesParams{
			SessionID: at.sessionID, Reader: r.forStore(), Visibility: store.Visibility(level), Limit: 1,
		})
		if err != nil {
			return err
		}
		if page.TotalCount != int64(len(ofLevel)) {
			p.findings.add(at.general(fmt.Sprintf("total_count is %d, not %d", page.TotalCount, len(ofLevel))))
		}
		p.compareAll(at, ofLevel[:min(1, len(ofLevel))], page.Messages)
		p.messagesRead.Add(int64(len(page.Messages)))
	}
	return nil
}
