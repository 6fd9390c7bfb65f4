package demo

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// listPage is the largest page of the active list.
const listPage = 1000

// verifyLists reads the active list as a stranger, as an admin and as every agent. In a database that has more sessions
// than fit on a page, the list of each of hundreds of agents would be a load on it: then only the strangers read.
func (p *playback) verifyLists(ctx context.Context) error {
	readers := []reader{{agent: p.strangers[0]}, {agent: p.strangers[1], admin: true}}
	known := make(map[reader]bool)
	for _, entry := range p.transcript.Entries {
		// Who is an admin in one session only is none here: the list is one answer about all sessions.
		r := reader{agent: entry.Sender, kind: clean(entry.SenderType)}
		if !known[r] {
			known[r] = true
			readers = append(readers, r)
		}
	}
	page, err := p.manager.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: readers[1].forStore(), Limit: listPage})
	if err != nil {
		return err
	}
	if page.HasMore {
		readers = readers[:2]
	}
	p.progress.Start("reading the list of sessions as everyone", len(readers))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(p.connections)
	for _, r := range readers {
		group.Go(func() error {
			if err := p.verifyList(groupCtx, r); err != nil {
				return fmt.Errorf("list the active sessions as %s: %w", r, err)
			}
			p.lists.Add(1)
			p.progress.Add(1)
			return nil
		})
	}
	return group.Wait()
}

// verifyList reads the whole active list as one reader. Sessions that are not of this run are only looked at for the
// order of the list.
func (p *playback) verifyList(ctx context.Context, r reader) error {
	listed := make(map[string]store.ActiveSession)
	var before *store.ActiveSession
	var after *store.SessionCursor
	for more := true; more; {
		page, err := p.manager.ListActiveSessions(ctx, store.ListActiveSessionsParams{
			Reader: r.forStore(), Limit: listPage, After: after,
		})
		if err != nil {
			return err
		}
		for i := range page.Sessions {
			session := &page.Sessions[i]
			if before != nil && compareActivity(before, session) <= 0 {
				p.findings.add(where{sessionID: session.ID, reader: r.String(), read: "active list"}.
					general("it comes after session " + before.ID + ", which was active earlier"))
			}
			listed[session.ID], before = *session, session
		}
		after, more = page.Next, page.HasMore
		if more && after == nil {
			p.findings.add(where{reader: r.String(), read: "active list"}.general("more is promised, without a cursor"))
			break
		}
	}
	for _, conversation := range p.transcript.Conversations {
		at := p.where(conversation.ID, r, "active list")
		session, ok := listed[at.sessionID]
		if !ok {
			p.findings.add(at.general("the session is missing"))
			continue
		}
		p.compareActive(at, conversation, r, session)
	}
	return nil
}

// compareActivity orders sessions by their last activity, then by id.
func compareActivity(a, b *store.ActiveSession) int {
	if c := a.LastActivity.Compare(b.LastActivity); c != 0 {
		return c
	}
	if a.ID < b.ID {
		return -1
	}
	return 1
}

// compareActive compares a session of the list with what its reader may know of it.
func (p *playback) compareActive(at where, conversation *Conversation, r reader, got store.ActiveSession) {
	p.compareSession(at, conversation, got.Session)
	senders := make(map[string]bool)
	var count int64
	last := p.sessions[conversation.ID].CreatedAt
	for _, entry := range conversation.Entries {
		if !r.maySee(entry) {
			continue
		}
		if count == 0 || entry.Time.After(last) {
			last = entry.Time
		}
		senders[entry.Sender] = true
		count++
	}
	if got.MessageCount != count {
		p.findings.add(at.general(fmt.Sprintf("message_count is %d, not %d", got.MessageCount, count)))
	}
	if got.Participants != int64(len(senders)) {
		p.findings.add(at.general(fmt.Sprintf("participants is %d, not %d", got.Participants, len(senders))))
	}
	if !got.LastActivity.Equal(last) {
		p.findings.add(at.general(fmt.Sprintf("last_activity is %s, not %s",
			store.AdaptDatetimeISO(got.LastActivity), store.AdaptDatetimeISO(last))))
	}
}
