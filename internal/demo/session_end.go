package demo

import (
	"context"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// endSession deactivates the session of this run and deletes it.
func (o *operations) endSession(ctx context.Context, at where) error {
	name := memoryName{o.agent, o.session.ID, operationPrefix + "end"}
	if err := o.setMemory(ctx, at, name, store.SetMemoryParams{Value: "goes with the session"}); err != nil {
		return err
	}
	for range 2 { // the second time is harmless
		o.called("DeactivateSession")
		if err := o.manager.DeactivateSession(ctx, o.session.ID, o.agent); err != nil {
			return err
		}
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	if err := o.notActive(ctx, at); err != nil {
		return err
	}
	if err := o.readOwn(ctx, at, o.admin); err != nil { // its messages stay readable
		return err
	}
	o.called("DeleteSession")
	if err := o.manager.DeleteSession(ctx, o.session.ID, o.agent); err != nil {
		return err
	}
	o.deleted = true
	delete(o.memory, name)
	o.called("GetSession")
	_, err := o.manager.GetSession(ctx, o.session.ID, o.admin.forStore())
	if err := o.refused(at, "the session that was deleted", err, store.ErrSessionNotFound); err != nil {
		return err
	}
	o.called("CountMessages")
	_, err = o.manager.CountMessages(ctx, o.session.ID, o.admin.forStore())
	if err := o.refused(at, "messages of the session that was deleted", err, store.ErrSessionNotFound); err != nil {
		return err
	}
	o.called("GetMemory")
	_, err = o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: name.agent, SessionID: name.session, Key: name.key})
	if err := o.refused(at, "memory of the session that was deleted", err, store.ErrMemoryNotFound); err != nil {
		return err
	}
	o.called("DeleteSession")
	err = o.manager.DeleteSession(ctx, o.session.ID, o.agent)
	if err := o.refused(at, "the session that was deleted, once more", err, store.ErrSessionNotFound); err != nil {
		return err
	}
	events, err := o.events(ctx, at, store.ListAuditParams{Reader: o.admin.forStore(), AgentID: o.agent, EventType: "session_deleted"})
	if err == nil && (len(events) != 1 || events[0].Resource != o.session.ID) {
		o.wrong(at, "the audit log has %d events of its deletion, not 1", len(events))
	}
	return err
}

// notActive demands that the session is inactive and on no list of active ones.
func (o *operations) notActive(ctx context.Context, at where) error {
	o.called("GetSession")
	detail, err := o.manager.GetSession(ctx, o.session.ID, o.admin.forStore())
	if err != nil {
		return err
	}
	if detail.IsActive {
		o.wrong(at, "the session is active after it was deactivated")
	}
	params := store.ListActiveSessionsParams{Reader: o.admin.forStore(), Limit: listPage}
	for pages, more := 0, true; more && pages < dashboardPages; pages++ {
		o.called("ListActiveSessions")
		page, err := o.manager.ListActiveSessions(ctx, params)
		if err != nil {
			return err
		}
		for i := range page.Sessions {
			if page.Sessions[i].ID == o.session.ID {
				o.wrong(at, "the session is on the active list after it was deactivated")
			}
		}
		params.After, more = page.Next, page.HasMore
	}
	return nil
}
