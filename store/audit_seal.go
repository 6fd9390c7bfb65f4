package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

const (
	sealBlockRows = 1000
	// sealBlocksPerRound bounds the transaction of one round, and with it how long others find the lock taken.
	sealBlocksPerRound = 20
)

// SealReport says what [Manager.SealAudit] did.
type SealReport struct {
	Blocks int64 `json:"blocks"` // sealed by this call
	Rows   int64 `json:"rows"`
	// Busy says that another process is sealing at the moment, and that this call left the rest to it.
	Busy bool `json:"busy"`
	// Waiting says that transactions which may still write earlier rows are running: what was written since they began is
	// sealed by a call after their end.
	Waiting bool `json:"waiting"`
}

// SealAudit makes later changes of the audit log show, see [Manager.VerifyAudit]. It takes the rows that no earlier row can
// join any more, and stores a digest (SHA-256) of each in blocks, each of which holds the digest of the block before. What
// is changed, removed or inserted behind the last block is found out; what was changed before its row was sealed is not.
// A service therefore calls it every few seconds to minutes, and [Manager.Cleanup] calls it too.
//
// Who writes to the audit log never waits for it and does nothing for it. A transaction that has written to the audit log
// and stays open delays the sealing of what came after it, not the writing. Any number of processes may call it: one works
// at a time, the others return at once. It takes a transaction of its own and refuses to run in one.
//
// It does not protect from who may write the tables audit_seal and audit_log both, as the owner of the database can, and
// seals the changed rows afresh. Against that, keep the LastDigest of [Manager.VerifyAudit] in another place.
func (m *Manager) SealAudit(ctx context.Context) (SealReport, error) {
	var report SealReport
	for more := true; more; {
		var blocks, rows int64
		// In another isolation level the rows that became visible since the beginning would not be seen.
		err := m.inTx(ctx, TxOptions{Isolation: pgx.ReadCommitted}, true, func(ctx context.Context) (err error) {
			report.Busy, report.Waiting = false, false
			blocks, rows, more, err = m.sealRound(ctx, &report)
			return err
		})
		if err != nil {
			return report, operationError(sealOperation, err)
		}
		report.Blocks += blocks
		report.Rows += rows
	}
	return report, nil
}

const sealOperation = "seal audit log"

// sealRound seals what lies below the horizon of the time before, and sets a new one when that is done. more says that
// there is more to seal at once.
func (m *Manager) sealRound(ctx context.Context, report *SealReport) (blocks, rows int64, more bool, err error) {
	locked, err := query(ctx, m, sealOperation, func(db gen.DBTX) (bool, error) { return queries.AuditSealLock(ctx, db) })
	if err != nil || !locked {
		report.Busy = err == nil
		return 0, 0, false, err
	}
	horizon, err := query(ctx, m, sealOperation, func(db gen.DBTX) (gen.AuditSealHorizonGetRow, error) {
		horizon, err := queries.AuditSealHorizonGet(ctx, db)
		if errors.Is(err, pgx.ErrNoRows) {
			err = nil
		}
		return horizon, err
	})
	if err != nil {
		return 0, 0, false, err
	}
	if horizon.Waiting {
		report.Waiting = true
		return 0, 0, false, nil
	}
	if blocks, rows, err = m.sealBlocks(ctx, horizon.LastID); err != nil || blocks == sealBlocksPerRound {
		return blocks, rows, true, err
	}

	// First the id, then the writers: see AuditSealHolders.
	last, err := query(ctx, m, sealOperation, func(db gen.DBTX) (int64, error) { return queries.AuditSealLastID(ctx, db) })
	if err != nil {
		return 0, 0, false, err
	}
	holders, err := query(ctx, m, sealOperation, func(db gen.DBTX) ([]string, error) { return queries.AuditSealHolders(ctx, db) })
	if err != nil {
		return 0, 0, false, err
	}
	_, err = query(ctx, m, sealOperation, func(db gen.DBTX) (struct{}, error) {
		return struct{}{}, queries.AuditSealHorizonSet(ctx, db, gen.AuditSealHorizonSetParams{LastID: last, Holders: holders})
	})
	if err != nil || len(holders) > 0 {
		report.Waiting = err == nil
		return blocks, rows, false, err
	}
	return blocks, rows, last > horizon.LastID, nil // nobody is in the way: the next round can seal up to the new horizon
}

// sealBlocks seals up to a number of blocks of rows up to the horizon.
func (m *Manager) sealBlocks(ctx context.Context, horizon int64) (blocks, rows int64, err error) {
	for blocks < sealBlocksPerRound {
		block, err := query(ctx, m, sealOperation, func(db gen.DBTX) (gen.AuditSealBlockRow, error) {
			return queries.AuditSealBlock(ctx, db, gen.AuditSealBlockParams{Horizon: horizon, MaxRows: sealBlockRows})
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return blocks, rows, nil
		}
		if err != nil {
			return blocks, rows, err
		}
		blocks++
		rows += int64(block.RowCount)
		if block.RowCount < sealBlockRows {
			return blocks, rows, nil
		}
	}
	return blocks, rows, nil
}

// expireSeals drops the digests of rows of blocks of which nothing is left after the cleanup.
func (m *Manager) expireSeals(ctx context.Context) error {
	const operation = "clean up seals of the audit log"
	before, err := m.auditExpiredBefore(ctx, operation)
	if err != nil {
		return err
	}
	_, err = m.deleteInBatches(ctx, operation, func(db gen.DBTX) (int64, error) {
		return queries.AuditSealExpire(ctx, db, gen.AuditSealExpireParams{Before: before, MaxRows: cleanupBatch})
	})
	return err
}

// auditExpiredBefore returns the time up to which the cleanup has deleted audit rows.
func (m *Manager) auditExpiredBefore(ctx context.Context, operation string) (time.Time, error) {
	micros, err := repeatable(ctx, m, operation, func(db gen.DBTX) (int64, error) { return queries.AuditExpiredBefore(ctx, db) })
	return time.UnixMicro(micros).UTC(), err
}

// AuditProblemKind says what is wrong with the audit log.
type AuditProblemKind string

// The kinds of problems.
const (
	AuditChanged  AuditProblemKind = "changed"  // a row is not what was sealed
	AuditRemoved  AuditProblemKind = "removed"  // a row is gone, and the cleanup has not deleted it
	AuditInserted AuditProblemKind = "inserted" // a row is there that was not when its neighbours were sealed
	AuditChain    AuditProblemKind = "chain"    // a seal was changed, removed or inserted
)

// AuditProblem is a trace of tampering.
type AuditProblem struct {
	Kind AuditProblemKind `json:"kind"`
	// Block is the number of the seal.
	Block int64 `json:"block"`
	// ID is the audit row, 0 for a problem of the chain.
	ID int64 `json:"id,omitempty"`
}

// AuditVerification is the report of [Manager.VerifyAudit].
type AuditVerification struct {
	Blocks   int64          `json:"blocks"`   // seals that were looked at
	Rows     int64          `json:"rows"`     // rows that are what was sealed
	Unsealed int64          `json:"unsealed"` // rows behind the last seal, of which nothing is known
	Problems []AuditProblem `json:"problems"` // empty when there are none; by block, then id
	// LastBlock and LastDigest (in hexadecimal) name the end of the chain. Kept in another place they prove later that the
	// chain up to there was not made anew: the seal LastBlock must still have this digest.
	LastBlock  int64  `json:"last_block"`
	LastDigest string `json:"last_digest"`
}

// VerifyAudit compares the audit log with its seals, block by block, and names each row that was changed, removed or
// inserted since [Manager.SealAudit] sealed it, and each seal that does not fit the one before. Rows that the cleanup has
// deleted are no problem: it leaves an audit row audit_expired that says up to which time; and neither are rows that have
// lost the id of a session which was deleted. The whole log is read; nothing is locked.
//
// What it cannot find: a change before the row was sealed; seals missing at the end of the chain, but for the Unsealed rows
// that they leave; and a chain that somebody with the rights to do so has made anew, but for its LastDigest.
func (m *Manager) VerifyAudit(ctx context.Context) (AuditVerification, error) {
	const operation = "verify audit log"
	report := AuditVerification{Problems: []AuditProblem{}}
	var previous gen.AuditSealVerifyRow
	previous.LastID, previous.Digest = -1<<63, make([]byte, 32)
	expired, err := m.auditExpiredBefore(ctx, operation)
	if err != nil {
		return report, err
	}
	for {
		block, err := m.verifyBlock(ctx, operation, previous.SealNo, &expired)
		if errors.Is(err, pgx.ErrNoRows) {
			break
		}
		if err != nil {
			return report, err
		}
		report.Blocks++
		report.Rows += block.Verified
		if !block.Intact || block.SealNo != previous.SealNo+1 || block.AfterID != previous.LastID ||
			!bytes.Equal(block.PreviousDigest, previous.Digest) {
			report.Problems = append(report.Problems, AuditProblem{Kind: AuditChain, Block: block.SealNo})
		}
		for _, found := range []struct {
			kind AuditProblemKind
			ids  []int64
		}{{AuditChanged, block.Changed}, {AuditRemoved, block.Removed}, {AuditInserted, block.Inserted}} {
			for _, id := range found.ids {
				report.Problems = append(report.Problems, AuditProblem{Kind: found.kind, Block: block.SealNo, ID: id})
			}
		}
		previous = block
	}
	report.Unsealed, err = repeatable(ctx, m, operation, func(db gen.DBTX) (int64, error) { return queries.AuditUnsealed(ctx, db) })
	if report.Blocks > 0 {
		report.LastBlock, report.LastDigest = previous.SealNo, hex.EncodeToString(previous.Digest)
	}
	return report, err
}

// verifyBlock compares the block behind a seal. What seems removed is looked at again when the cleanup has said meanwhile
// that it deleted more.
func (m *Manager) verifyBlock(ctx context.Context, operation string, afterSealNo int64, expired *time.Time) (gen.AuditSealVerifyRow, error) {
	for {
		block, err := repeatable(ctx, m, operation, func(db gen.DBTX) (gen.AuditSealVerifyRow, error) {
			return queries.AuditSealVerify(ctx, db, gen.AuditSealVerifyParams{ExpiredBefore: *expired, AfterSealNo: afterSealNo})
		})
		if err != nil || block.Intact && len(block.Removed) == 0 {
			return block, err
		}
		now, err := m.auditExpiredBefore(ctx, operation)
		if err != nil || !now.After(*expired) {
			return block, err
		}
		*expired = now
	}
}
