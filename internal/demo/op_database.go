package demo

import (
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// execute runs statements of its own, with placeholders, next to the operations.
func (o *operations) execute(ctx context.Context, at where) error {
	key, value := operationPrefix+"sql", clean(o.transcript.Entries[0].Content)
	o.called("ExecuteInsert")
	id, err := store.ExecuteInsert(ctx, "INSERT INTO agent_memory (agent_id, key, value, metadata) VALUES (?, ?, ?, ?::jsonb)",
		o.agent, key, "inserted", `{"step": "insert"}`)
	if err != nil {
		return err
	}
	o.called("ExecuteUpdate")
	changed, err := store.ExecuteUpdate(ctx, "UPDATE agent_memory SET value = ? WHERE agent_id = ? AND key = ?", value, o.agent, key)
	if err != nil {
		return err
	}
	if id <= 0 || changed != 1 {
		o.wrong(at, "an insert gave the id %d, and the update after it changed %d rows", id, changed)
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	o.called("ExecuteQuery")
	rows, err := store.ExecuteQuery(ctx, "SELECT id, value, metadata ?? 'step' AS step FROM agent_memory WHERE agent_id = ? AND key = ?", o.agent, key)
	if err != nil {
		return err
	}
	if len(rows) != 1 || rows[0]["id"] != id || rows[0]["value"] != value || rows[0]["step"] != true {
		o.wrong(at, "a query gave %d rows, or others than were inserted and updated", len(rows))
	}
	o.called("GetMemory")
	entry, err := o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: o.agent, Key: key})
	if err != nil {
		return err
	}
	if entry.Value != value || !sameJSON(entry.Metadata, []byte(`{"step":"insert"}`)) {
		o.wrong(at, "memory that a statement has written comes back as another")
	}
	o.called("GetDBConnection")
	err = store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		var count int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages WHERE session_id = $1", o.session.ID).Scan(&count); err != nil {
			return err
		}
		if count != int64(len(o.own)) {
			o.wrong(at, "a connection counts %d messages, not %d", count, len(o.own))
		}
		return nil
	})
	if err != nil {
		return err
	}
	o.called("ExecuteUpdate")
	if changed, err = store.ExecuteUpdate(ctx, "DELETE FROM agent_memory WHERE agent_id = ? AND key = ?", o.agent, key); err != nil {
		return err
	}
	if changed != 1 {
		o.wrong(at, "a deletion of one row removed %d", changed)
	}
	return nil
}

// maintain does what concerns the whole database, if that is this run's alone.
func (o *operations) maintain(ctx context.Context, at where) error {
	at.sessionID = ""
	if !o.options.Private {
		o.leftOut = append(o.leftOut, "health, cleanup and sealing, which concern the whole of a database of others")
		return nil
	}
	o.called("HealthCheck")
	if health := store.HealthCheck(ctx); !health.Healthy() || !health.DatabaseExists || !health.DatabaseInitialized || health.ConnectionCount < 1 || health.DatabaseSizeMB <= 0 {
		o.wrong(at, "its health is %+v", health)
	}
	o.called("GetSchemaVersion")
	version, err := store.GetSchemaVersion(ctx)
	if err != nil {
		return err
	}
	o.called("MigrationStatus")
	status, err := o.manager.MigrationStatus(ctx)
	if err != nil {
		return err
	}
	if version != store.SchemaVersion() || status.Dirty || status.Version != status.Latest {
		o.wrong(at, "the version of its schema is %d, not %d; migrations: %+v", version, store.SchemaVersion(), status)
	}
	o.called("Stats")
	if stats := o.manager.Stats(); stats.MaxConnections != o.connections || stats.InUse > stats.MaxConnections || stats.Acquired < int64(len(o.written)) {
		o.wrong(at, "the state of the pool is %+v", stats)
	}
	if err := o.seal(ctx, at); err != nil {
		return err
	}
	return o.cleanUp(ctx, at)
}

// seal seals the audit log and verifies it. Every row so far must be there.
func (o *operations) seal(ctx context.Context, at where) error {
	o.called("SealAudit")
	sealed, err := o.manager.SealAudit(ctx)
	if err != nil {
		return err
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	if least := int64(len(o.written) + len(o.own)); !sealed.Waiting && (sealed.Busy || sealed.Rows < least) {
		o.wrong(at, "sealing the audit log gave %+v, of more than %d rows", sealed, least)
	}
	return o.verifySeals(ctx, at, sealed)
}

func (o *operations) verifySeals(ctx context.Context, at where, sealed store.SealReport) error {
	o.called("VerifyAudit")
	verified, err := o.manager.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	for i, problem := range verified.Problems {
		if i == printedMismatches {
			break
		}
		o.wrong(at, "audit row %d, block %d of the seals: %s", problem.ID, problem.Block, problem.Kind)
	}
	if verified.Blocks != sealed.Blocks || len(verified.Problems) == 0 && verified.Rows != sealed.Rows || verified.Unsealed != 0 && !sealed.Waiting {
		o.wrong(at, "sealed were %d blocks of %d rows, and verified %d of %d, with %d rows behind them",
			sealed.Blocks, sealed.Rows, verified.Blocks, verified.Rows, verified.Unsealed)
	}
	return nil
}

// cleanUp makes things that are old enough to go, and has them go.
func (o *operations) cleanUp(ctx context.Context, at where) error {
	old := store.UTCNow().Add(-40 * 24 * time.Hour)
	o.called("AppendAudit")
	if _, err := o.manager.AppendAudit(ctx, store.AppendAuditParams{EventType: "demo.old", AgentID: o.agent, Now: &old}); err != nil {
		return err
	}
	o.called("CleanupExpiredData")
	stats, err := store.CleanupExpiredData(ctx)
	if err != nil {
		return err
	}
	if stats != (store.CleanupStats{ExpiredMemory: 1, OldAuditLogs: 1}) {
		o.wrong(at, "the cleanup of expired data removed %+v, not one row of each", stats)
	}
	o.called("SetMemory")
	if _, err := o.manager.SetMemory(ctx, store.SetMemoryParams{AgentID: o.agent, Key: "demo.old", Value: "old", TTL: time.Hour, Now: &old}); err != nil {
		return err
	}
	o.called("Cleanup")
	report, err := o.manager.Cleanup(ctx)
	if err != nil {
		return err
	}
	if report != (store.CleanupReport{CleanupStats: store.CleanupStats{ExpiredMemory: 1}}) {
		o.wrong(at, "the cleanup removed %+v, not one entry of memory", report)
	}
	wantTokens := int64(0)
	if o.lastToken != "" {
		o.called("CreateToken")
		if _, err := o.manager.CreateToken(ctx, store.CreateTokenParams{AgentID: o.agent, JWT: "old", Now: &old}); err != nil {
			return err
		}
		wantTokens = 1
	}
	o.called("CleanupExpiredTokens")
	tokens, err := o.manager.CleanupExpiredTokens(ctx)
	if err != nil {
		return err
	}
	if tokens != wantTokens {
		o.wrong(at, "the cleanup removed %d tokens, not %d", tokens, wantTokens)
	}
	return o.readMemory(ctx, at)
}

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
