package demo

import (
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

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
	o.called("CheckAccess")
	access, err := o.manager.CheckAccess(ctx)
	if err != nil {
		return err
	}
	if !access.RowSecurity || access.Role == "" || len(access.Operations) == 0 {
		o.wrong(at, "what its role may do is %+v", access)
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
