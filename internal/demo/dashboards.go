package demo

import (
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// dashboardPages bounds how much of a large database the dashboards are read.
const dashboardPages = 10

// watch reads the dashboards. They are about the whole database, in which others may be at work.
func (o *operations) watch(ctx context.Context, at where) error {
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	if err := o.totals(ctx, at); err != nil {
		return err
	}
	if err := o.sessionActivity(ctx, at); err != nil {
		return err
	}
	if err := o.agentMemory(ctx, at); err != nil {
		return err
	}
	for _, r := range []reader{{agent: o.agent}, {agent: o.other}, o.admin} {
		if err := o.sessionMemory(ctx, at, r); err != nil {
			return err
		}
	}
	agent := store.Reader{AgentID: o.agent}
	o.called("Totals")
	_, err := o.manager.Totals(ctx, agent)
	if err := o.refused(at, "totals for an agent", err, store.ErrPermission); err != nil {
		return err
	}
	o.called("ListSessionActivity")
	_, err = o.manager.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: agent})
	if err := o.refused(at, "the activity of all for an agent", err, store.ErrPermission); err != nil {
		return err
	}
	o.called("ListAgentMemory")
	_, err = o.manager.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: agent})
	return o.refused(at, "the memory of all agents for an agent", err, store.ErrPermission)
}

func (o *operations) totals(ctx context.Context, at where) error {
	o.called("Totals")
	got, err := o.manager.Totals(ctx, o.admin.forStore())
	if err != nil {
		return err
	}
	sessions, messages, memory := int64(len(o.sessions)+1), int64(len(o.written)+len(o.own)), int64(len(o.memory))
	if got.Sessions < sessions || got.ActiveSessions < sessions || got.ActiveSessions > got.Sessions || got.Messages < messages || got.LiveMemory < memory {
		o.wrong(at, "the totals are %+v, of which this run has %d sessions, %d messages and %d entries of memory", got, sessions, messages, memory)
	}
	if o.options.Private && (got.Sessions != sessions || got.Messages != messages || got.LiveMemory != memory) {
		o.wrong(at, "the totals are %+v, not %d sessions, %d messages and %d entries of memory", got, sessions, messages, memory)
	}
	return nil
}

// sessionActivity compares the sessions of this run in the list of all, and looks at its order.
func (o *operations) sessionActivity(ctx context.Context, at where) error {
	listed := make(map[string]store.SessionActivity)
	params := store.ListSessionActivityParams{Reader: o.admin.forStore(), Limit: listPage}
	more := true
	var before *store.SessionActivity
	for pages := 0; more && pages < dashboardPages; pages++ {
		o.called("ListSessionActivity")
		page, err := o.manager.ListSessionActivity(ctx, params)
		if err != nil {
			return err
		}
		for i := range page.Sessions {
			session := &page.Sessions[i]
			if before != nil && lastMessage(session).After(lastMessage(before)) {
				o.wrong(at, "session %s is listed behind %s, whose latest message is earlier", session.ID, before.ID)
			}
			listed[session.ID], before = *session, session
		}
		params.After, more = page.Next, page.HasMore
	}
	for _, conversation := range o.transcript.Conversations {
		at := o.where(conversation.ID, o.admin, at.read)
		if session, ok := listed[at.sessionID]; ok {
			o.compareSession(at, conversation, session.Session)
			o.compareCounts(at, session, conversation.Entries)
		} else if !more {
			o.wrong(at, "the session is missing")
		}
	}
	if session, ok := listed[o.session.ID]; ok {
		entries := make([]*Entry, len(o.own))
		for i, w := range o.own {
			entries[i] = w.entry
		}
		o.compareCounts(at, session, entries)
	} else if !more {
		o.wrong(at, "the session is missing")
	}
	return nil
}

func lastMessage(session *store.SessionActivity) time.Time {
	if session.LastMessageAt == nil {
		return time.Time{}
	}
	return *session.LastMessageAt
}

func (o *operations) compareCounts(at where, got store.SessionActivity, entries []*Entry) {
	senders := make(map[string]bool)
	var last time.Time
	for _, entry := range entries {
		senders[entry.Sender] = true
		if last.IsZero() || entry.Time.After(last) {
			last = entry.Time
		}
	}
	if got.MessageCount != int64(len(entries)) || got.UniqueAgents != int64(len(senders)) || !lastMessage(&got).Equal(last) {
		o.wrong(at, "it has %d messages by %d agents until %v, not %d by %d until %v", got.MessageCount, got.UniqueAgents,
			lastMessage(&got), len(entries), len(senders), last)
	}
}

// agentMemory looks for the agents of this run in the list of all that have memory. An expired entry still counts there.
func (o *operations) agentMemory(ctx context.Context, at where) error {
	want := map[string]*store.AgentMemorySummary{o.agent: {TotalEntries: 1, GlobalEntries: 1, ExpiringEntries: 1}, o.other: {}}
	for name, entry := range o.memory {
		sum := want[name.agent]
		sum.TotalEntries++
		if name.session == "" {
			sum.GlobalEntries++
		} else {
			sum.SessionEntries++
		}
		if entry.expires != nil {
			sum.ExpiringEntries++
		}
	}
	params := store.ListAgentMemoryParams{Reader: o.admin.forStore(), Limit: listPage}
	more := true
	for pages := 0; more && pages < dashboardPages && len(want) > 0; pages++ {
		o.called("ListAgentMemory")
		page, err := o.manager.ListAgentMemory(ctx, params)
		if err != nil {
			return err
		}
		for _, got := range page.Agents {
			sum := want[got.AgentID]
			if sum == nil {
				continue
			}
			delete(want, got.AgentID)
			// A cleanup of the database may have removed the expired entry by now.
			cleaned := got.AgentID == o.agent && !o.options.Private && got.TotalEntries == sum.TotalEntries-1 && got.GlobalEntries == sum.GlobalEntries-1
			if !cleaned && (got.TotalEntries != sum.TotalEntries || got.GlobalEntries != sum.GlobalEntries ||
				got.SessionEntries != sum.SessionEntries || got.ExpiringEntries != sum.ExpiringEntries) {
				o.wrong(at, "the memory of %s is summarized as %+v, not %+v", got.AgentID, got, *sum)
			}
		}
		params.After, more = page.Next, page.HasMore
	}
	if len(want) > 0 && !more {
		o.wrong(at, "%d agents are missing in the list of those with memory", len(want))
	}
	return nil
}

// sessionMemory compares the memory counts of the active list with what this run keeps in its sessions. An admin counts
// that of other agents too.
func (o *operations) sessionMemory(ctx context.Context, at where, r reader) error {
	want := make(map[string]int64)
	for _, session := range o.sessions {
		want[session.ID] = 0
	}
	for name := range o.memory {
		if name.session != "" && (r.admin || name.agent == r.agent) {
			want[name.session]++
		}
	}
	params := store.ListActiveSessionsParams{Reader: r.forStore(), Limit: listPage}
	for pages, more := 0, true; more && pages < dashboardPages; pages++ {
		o.called("ListActiveSessions")
		page, err := o.manager.ListActiveSessions(ctx, params)
		if err != nil {
			return err
		}
		for i := range page.Sessions {
			session := &page.Sessions[i]
			entries, ours := want[session.ID]
			others := r.admin && !o.options.Private
			if ours && (session.MemoryCount < entries || session.MemoryCount > entries && !others) {
				o.wrong(at, "session %s has %d entries of memory in the active list of %s, not %d", session.ID, session.MemoryCount, r, entries)
			}
		}
		params.After, more = page.Next, page.HasMore
	}
	return nil
}
