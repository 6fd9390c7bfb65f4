package store

import (
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

const (
	// cleanupBatch bounds how many rows one statement of the cleanup deletes, so that none holds locks for long.
	cleanupBatch = 1000
	// cleanupSessionBatch is smaller, as the messages of the sessions are deleted with them.
	cleanupSessionBatch = 50
)

// CleanupReport says what [Manager.Cleanup] deleted, in rows.
type CleanupReport struct {
	CleanupStats
	InactiveSessions int64 `json:"inactive_sessions"`
	ExpiredTokens    int64 `json:"expired_tokens"`
}

// Cleanup deletes what [CleanupExpiredData] deletes, and sessions that are marked inactive and have seen neither a change
// nor a message for INACTIVE_SESSION_RETENTION_DAYS: with their messages and their session memory, and with an audit row
// session_deleted of the agent "system" each; and tokens, as [Manager.CleanupExpiredTokens] does.
//
// It works in small batches, each a transaction of its own, and waits for nobody: rows that are in use at the moment are
// left for the next time. Many processes may run it at once, and one that was interrupted may simply be run again. The
// sessions are deleted without statement_timeout, as they may hold any number of messages; ctx bounds all of it. A
// session that gets a message while it would be deleted stays. At the end it seals the audit log, see [Manager.SealAudit],
// unless ctx is in a transaction. When Cleanup fails, the report says what was deleted until then.
func (m *Manager) Cleanup(ctx context.Context) (CleanupReport, error) {
	var report CleanupReport
	var err error
	if report.ExpiredMemory, err = m.deleteExpiredMemory(ctx); err != nil {
		return report, err
	}
	if report.InactiveSessions, err = m.deleteInactiveSessions(ctx); err != nil {
		return report, err
	}
	if report.ExpiredTokens, err = m.CleanupExpiredTokens(ctx); err != nil {
		return report, err
	}
	if report.OldAuditLogs, err = m.deleteOldAudit(ctx); err != nil || m.transaction(ctx) != nil {
		return report, err
	}
	if err := m.expireSeals(ctx); err != nil {
		return report, err
	}
	_, err = m.SealAudit(ctx)
	return report, err
}

// CleanupStats says what [CleanupExpiredData] deleted, in rows.
type CleanupStats struct {
	ExpiredMemory int64 `json:"expired_memory"`
	OldAuditLogs  int64 `json:"old_audit_logs"`
}

// CleanupExpiredData deletes memory that has expired and audit rows older than AUDIT_LOG_RETENTION_DAYS, in small batches
// that wait for nobody: many processes may run it at once. When it fails, the stats say what was deleted until then.
// Each batch of audit rows leaves an audit row audit_expired of the agent "system". [Manager.Cleanup] also deletes inactive
// sessions and tokens.
func CleanupExpiredData(ctx context.Context) (CleanupStats, error) {
	var stats CleanupStats
	m, err := GetManager(ctx)
	if err != nil {
		return stats, err
	}
	if stats.ExpiredMemory, err = m.deleteExpiredMemory(ctx); err != nil {
		return stats, err
	}
	stats.OldAuditLogs, err = m.deleteOldAudit(ctx)
	return stats, err
}

func (m *Manager) deleteExpiredMemory(ctx context.Context) (int64, error) {
	return m.deleteInBatches(ctx, "clean up expired memory", func(db gen.DBTX) (int64, error) {
		return queries.MemoryDeleteExpired(ctx, db, gen.MemoryDeleteExpiredParams{MaxRows: cleanupBatch})
	})
}

func (m *Manager) deleteOldAudit(ctx context.Context) (int64, error) {
	before := time.Now().Add(-m.config.AuditRetention)
	return m.deleteInBatches(ctx, "clean up old audit rows", func(db gen.DBTX) (int64, error) {
		return queries.AuditDeleteBefore(ctx, db, gen.AuditDeleteBeforeParams{Before: before, MaxRows: cleanupBatch})
	})
}

// deleteInBatches repeats a statement until it finds less than a batch, and returns the rows deleted in all.
func (m *Manager) deleteInBatches(ctx context.Context, operation string, batch func(db gen.DBTX) (int64, error)) (int64, error) {
	var deleted int64
	for {
		n, err := repeatable(ctx, m, operation, batch)
		deleted += n
		if err != nil || n < cleanupBatch {
			return deleted, err
		}
	}
}

// deleteInactiveSessions walks once through the inactive sessions by the time of their last change.
func (m *Manager) deleteInactiveSessions(ctx context.Context) (int64, error) {
	const operation = "clean up inactive sessions"
	candidates := gen.SessionLockUnusedParams{Before: time.Now().Add(-m.config.InactiveSessionRetention), MaxRows: cleanupSessionBatch}
	var deleted int64
	for more := true; more; {
		var n int64
		// Two statements, so that the second one sees what was committed before the first one had its locks.
		err := m.inTx(ctx, TxOptions{}, true, func(ctx context.Context) error {
			// Sessions have any number of messages. A batch that is cancelled would be so the next time too.
			_, err := query(ctx, m, operation, func(db gen.DBTX) (struct{}, error) {
				return struct{}{}, queries.StatementTimeoutOff(ctx, db)
			})
			if err != nil {
				return err
			}
			locked, err := query(ctx, m, operation, func(db gen.DBTX) ([]gen.SessionLockUnusedRow, error) {
				return queries.SessionLockUnused(ctx, db, candidates)
			})
			if more = len(locked) == cleanupSessionBatch; err != nil || len(locked) == 0 {
				return err
			}
			ids := make([]string, len(locked))
			for i, row := range locked {
				ids[i] = row.ID
				candidates.AfterUpdatedAt, candidates.AfterID = row.UpdatedAt, row.ID
			}
			n, err = query(ctx, m, operation, func(db gen.DBTX) (int64, error) {
				return queries.SessionDeleteUnused(ctx, db, gen.SessionDeleteUnusedParams{Ids: ids, Before: candidates.Before})
			})
			return err
		})
		if err != nil {
			return deleted, err
		}
		deleted += n
	}
	return deleted, nil
}
