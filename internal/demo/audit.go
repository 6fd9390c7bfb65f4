package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// auditPage is the size of the pages of the audit log.
	auditPage = 200
	// appendedEvents is how many events are appended.
	appendedEvents = 5
)

// audit looks for the rows that everything before must have left, and appends some.
func (o *operations) audit(ctx context.Context, at where) error {
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	err := sideBySide(ctx, o, o.chosen, func(ctx context.Context, conversation *Conversation) error {
		all := o.inOrder(conversation)
		at := o.where(conversation.ID, o.admin, at.read)
		return o.auditSession(ctx, at, conversation.CreatedBy, all)
	})
	if err != nil {
		return err
	}
	if err := o.auditSession(ctx, at, o.agent, o.own); err != nil {
		return err
	}
	if err := o.appendEvents(ctx, at); err != nil {
		return err
	}
	if err := o.auditTokens(ctx, at); err != nil {
		return err
	}
	if err := o.summarize(ctx, at); err != nil {
		return err
	}
	for _, agent := range []string{"", o.other} {
		o.called("ListAudit")
		_, err := o.manager.ListAudit(ctx, store.ListAuditParams{Reader: store.Reader{AgentID: o.agent}, AgentID: agent})
		if err := o.refused(at, "audit events of others for an agent", err, store.ErrPermission); err != nil {
			return err
		}
		o.called("SummarizeAudit")
		_, err = o.manager.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: store.Reader{AgentID: o.agent}, AgentID: agent})
		if err := o.refused(at, "a summary of others for an agent", err, store.ErrPermission); err != nil {
			return err
		}
	}
	return nil
}

// events reads a list of the audit log to its end, and demands that it goes from new to old.
func (o *operations) events(ctx context.Context, at where, params store.ListAuditParams) ([]store.AuditEvent, error) {
	params.Limit = auditPage
	var all []store.AuditEvent
	for more := true; more; {
		o.called("ListAudit")
		page, err := o.manager.ListAudit(ctx, params)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Events...)
		if page.HasMore && (page.Next == nil || len(page.Events) != auditPage) {
			o.wrong(at, "the audit log promises more behind %d events", len(all))
			break
		}
		params.After, more = page.Next, page.HasMore
	}
	for i := 1; i < len(all); i++ {
		a, b := &all[i-1], &all[i]
		if c := a.Timestamp.Compare(b.Timestamp); c < 0 || c == 0 && a.ID <= b.ID {
			o.wrong(at, "audit event %d comes before %d, which is newer", a.ID, b.ID)
		}
	}
	return all, nil
}

// auditSession demands exactly one event per message of a session, and one for the session itself.
func (o *operations) auditSession(ctx context.Context, at where, createdBy string, want []*written) error {
	events, err := o.events(ctx, at, store.ListAuditParams{Reader: o.admin.forStore(), SessionID: at.sessionID, EventType: "message_added"})
	if err != nil {
		return err
	}
	byID := make(map[int64]*written, len(want))
	for _, w := range want {
		byID[w.id] = w
	}
	for i := range events {
		event := &events[i]
		var about struct {
			MessageID  int64  `json:"message_id"`
			Visibility string `json:"visibility"`
		}
		if err := json.Unmarshal(event.Metadata, &about); err != nil {
			o.wrong(at, "audit event %d: %v", event.ID, err)
			continue
		}
		w := byID[about.MessageID]
		if w == nil {
			o.wrong(at, "audit event %d is about message %d, which is not of this session or has an event already", event.ID, about.MessageID)
			continue
		}
		delete(byID, about.MessageID)
		if event.EventType != "message_added" || event.SessionID != at.sessionID || event.AgentID != w.entry.Sender || about.Visibility != w.entry.Visibility {
			o.findings.add(at.mismatch(w, fmt.Sprintf("its audit event %d says %s by %s, %s", event.ID, event.EventType, event.AgentID, about.Visibility)))
		}
	}
	for _, w := range byID {
		o.findings.add(at.mismatch(w, "it has no audit event"))
	}
	events, err = o.events(ctx, at, store.ListAuditParams{Reader: o.admin.forStore(), SessionID: at.sessionID, EventType: "session_created"})
	if err != nil {
		return err
	}
	if len(events) != 1 || events[0].AgentID != createdBy {
		o.wrong(at, "the session has %d events of its creation by %s, not 1", len(events), createdBy)
	}
	return nil
}

// appendEvents appends events and finds them by type, by time, by agent and by session.
func (o *operations) appendEvents(ctx context.Context, at where) error {
	kind, first := operationPrefix+o.run, store.UTCNow()
	want := make([]store.AuditEvent, appendedEvents)
	for i := range want {
		now := first.Add(time.Duration(i) * time.Millisecond)
		entry := o.transcript.Entries[i%len(o.transcript.Entries)]
		o.called("AppendAudit")
		event, err := o.manager.AppendAudit(ctx, store.AppendAuditParams{
			EventType: kind, AgentID: o.agent, SessionID: o.session.ID, Resource: entry.Session, Action: "replay", Result: entry.Visibility,
			Metadata: map[string]int{"line": entry.Line}, Now: &now,
		})
		if err != nil {
			return err
		}
		o.caused(o.agent, kind)
		want[i] = store.AuditEvent{
			ID: event.ID, Timestamp: now, EventType: kind, AgentID: o.agent, SessionID: o.session.ID, Resource: entry.Session,
			Action: "replay", Result: entry.Visibility, Metadata: json.RawMessage(fmt.Sprintf(`{"line":%d}`, entry.Line)),
		}
		o.compareEvents(at, want[i:i+1], []store.AuditEvent{event})
	}
	slices.Reverse(want)
	for _, list := range []struct {
		params store.ListAuditParams
		want   []store.AuditEvent
	}{
		{store.ListAuditParams{EventType: kind}, want},
		{store.ListAuditParams{EventType: kind, From: first.Add(time.Millisecond), To: first.Add(3 * time.Millisecond)}, want[appendedEvents-3 : appendedEvents-1]},
		{store.ListAuditParams{EventType: kind, AgentID: o.agent}, want},
		{store.ListAuditParams{EventType: kind, SessionID: o.session.ID}, want},
		{store.ListAuditParams{EventType: kind, AgentID: o.other}, nil},
	} {
		list.params.Reader = o.admin.forStore()
		got, err := o.events(ctx, at, list.params)
		if err != nil {
			return err
		}
		o.compareEvents(at, list.want, got)
	}
	o.called("AppendAudit")
	_, err := o.manager.AppendAudit(ctx, store.AppendAuditParams{EventType: kind, AgentID: o.agent, SessionID: unknownSession})
	return o.refused(at, "an audit event about an unknown session", err, store.ErrSessionNotFound)
}

func (o *operations) compareEvents(at where, want, got []store.AuditEvent) {
	if len(got) != len(want) {
		o.wrong(at, "the audit log lists %d of the appended events, not %d", len(got), len(want))
		return
	}
	for i := range want {
		a, b := want[i], got[i]
		same := a.ID == b.ID && a.Timestamp.Equal(b.Timestamp) && sameJSON(a.Metadata, b.Metadata) && a.EventType == b.EventType &&
			a.AgentID == b.AgentID && a.SessionID == b.SessionID && a.Resource == b.Resource && a.Action == b.Action && a.Result == b.Result
		if !same {
			o.wrong(at, "an appended audit event came back as %+v, not %+v", b, a)
		}
	}
}

// auditTokens demands that the log names the tokens by reference.
func (o *operations) auditTokens(ctx context.Context, at where) error {
	for i, reference := range o.tokens {
		kind := []string{"token_created", "token_refreshed"}[i]
		events, err := o.events(ctx, at, store.ListAuditParams{Reader: store.Reader{AgentID: o.agent}, AgentID: o.agent, EventType: kind})
		if err != nil {
			return err
		}
		if len(events) != 1 || events[0].Resource != reference {
			o.wrong(at, "the audit log has %d events %s, not one about token %s", len(events), kind, reference)
		}
	}
	return nil
}

// summarize compares the summary of the events of this run's agents, which nobody else causes.
func (o *operations) summarize(ctx context.Context, at where) error {
	for _, agent := range []string{o.agent, o.other} {
		got := make(map[string]int64)
		params := store.SummarizeAuditParams{Reader: store.Reader{AgentID: agent}, AgentID: agent, Limit: 3}
		for more := true; more; {
			o.called("SummarizeAudit")
			page, err := o.manager.SummarizeAudit(ctx, params)
			if err != nil {
				return err
			}
			for _, activity := range page.Activities {
				got[activity.EventType] += activity.EventCount
				if activity.AgentID != agent || activity.FirstEvent.After(activity.LastEvent) {
					o.wrong(at, "the summary of %s names %s, from %v to %v", agent, activity.AgentID, activity.FirstEvent, activity.LastEvent)
				}
			}
			if page.HasMore && page.Next == nil {
				o.wrong(at, "the summary of %s promises more, without a cursor", agent)
				break
			}
			params.After, more = page.Next, page.HasMore
		}
		if !maps.Equal(got, o.trail[agent]) {
			o.wrong(at, "the summary of %s is %v, not %v", agent, got, o.trail[agent])
		}
	}
	return nil
}
