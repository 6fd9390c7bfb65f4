package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// change runs SQL that an operation never would.
func change(ctx context.Context, tb testing.TB, sql string, args ...any) {
	tb.Helper()
	if _, err := store.ExecuteUpdate(ctx, sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func (f fixture) seal(ctx context.Context, tb testing.TB) store.SealReport {
	tb.Helper()
	report, err := f.SealAudit(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

// wantProblems verifies the audit log.
func (f fixture) wantProblems(ctx context.Context, tb testing.TB, want ...store.AuditProblem) store.AuditVerification {
	tb.Helper()
	report, err := f.VerifyAudit(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(append([]store.AuditProblem{}, want...), report.Problems); diff != "" {
		tb.Errorf("problems (-want +got):\n%s", diff)
	}
	return report
}

// fillAudit replaces the audit log by rows 1 to n of the fixture's session, of which some columns are NULL.
func (f fixture) fillAudit(ctx context.Context, tb testing.TB, n int) {
	tb.Helper()
	change(ctx, tb, "DELETE FROM audit_log")
	change(ctx, tb, "SELECT setval('audit_log_id_seq', 1, false)")
	change(ctx, tb, `INSERT INTO audit_log (event_type, agent_id, session_id, resource, action, result, metadata, timestamp)
		SELECT 'type', 'agent', CASE WHEN n % 2 = 0 THEN ?::text END, 'r' || n, 'a', CASE WHEN n % 3 = 0 THEN 'ok' END,
			jsonb_build_object('n', n, 'z', NULL), now() - interval '1 day' + n * interval '1 microsecond'
		FROM generate_series(1, ?::int) AS n`, f.session.ID, n)
}

func TestSealAudit(t *testing.T) {
	t.Parallel()
	needsOwner(t, "tampers with the audit log")
	ctx, f := setup(t)
	empty := f.wantProblems(ctx, t)
	if diff := cmp.Diff(store.AuditVerification{Unsealed: 1, Problems: []store.AuditProblem{}}, empty); diff != "" {
		t.Errorf("before the first seal (-want +got):\n%s", diff)
	}
	f.fillAudit(ctx, t, 22_500) // more than a round
	if diff := cmp.Diff(store.SealReport{Blocks: 23, Rows: 22_500}, f.seal(ctx, t)); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(store.SealReport{}, f.seal(ctx, t)); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
	before := f.wantProblems(ctx, t)
	f.add(ctx, t, store.NewMessage{Sender: "a", Content: "x"})
	after := f.wantProblems(ctx, t)
	before.Unsealed = 1
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("with a new row (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(store.SealReport{Blocks: 1, Rows: 1}, f.seal(ctx, t)); diff != "" {
		t.Errorf("a new row (-want +got):\n%s", diff)
	}
	got := f.wantProblems(ctx, t)
	if got.Blocks != 24 || got.Rows != 22_501 || got.Unsealed != 0 || got.LastBlock != 24 || got.LastDigest == before.LastDigest || len(got.LastDigest) != 64 {
		t.Errorf("verification %+v", got)
	}
	err := f.InTx(ctx, func(ctx context.Context) error { _, err := f.SealAudit(ctx); return err })
	if err == nil {
		t.Error("sealing within a transaction is not refused")
	}
}

// Rows that a running transaction has written, or could write, are sealed after its end and no row behind them before.
func TestSealAuditWaitsForOpenTransactions(t *testing.T) {
	t.Parallel()
	for _, end := range []error{nil, errFailed} {
		ctx, f := setup(t)
		f.seal(ctx, t)
		appendEvent := func(ctx context.Context, agent string) {
			t.Helper()
			if _, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: agent}); err != nil {
				t.Fatal(err)
			}
		}
		err := f.InTx(ctx, func(inTx context.Context) error {
			appendEvent(inTx, "first")
			outside := store.WithoutTx(inTx)
			for range 3 {
				appendEvent(outside, "second")
				if diff := cmp.Diff(store.SealReport{Waiting: true}, f.seal(outside, t)); diff != "" {
					t.Errorf("with an open transaction (-want +got):\n%s", diff)
				}
			}
			appendEvent(inTx, "third")
			return end
		})
		if err != end {
			t.Fatal(err)
		}
		want := int64(5)
		if end != nil {
			want = 3
		}
		if got := f.seal(ctx, t); got.Rows != want || got.Waiting {
			t.Errorf("after its end: %+v, want %d rows", got, want)
		}
		if got := f.wantProblems(ctx, t); got.Unsealed != 0 {
			t.Errorf("%d rows are left", got.Unsealed)
		}
	}
}

func TestVerifyAuditFindsTampering(t *testing.T) {
	t.Parallel()
	needsOwner(t, "tampers with the audit log")
	row := func(kind store.AuditProblemKind, ids ...int64) (problems []store.AuditProblem) {
		for _, id := range ids {
			problems = append(problems, store.AuditProblem{Kind: kind, Block: (id + 999) / 1000, ID: id})
		}
		return problems
	}
	chain := func(blocks ...int64) (problems []store.AuditProblem) {
		for _, block := range blocks {
			problems = append(problems, store.AuditProblem{Kind: store.AuditChain, Block: block})
		}
		return problems
	}
	digest := "UPDATE audit_seal SET %s WHERE seal_no = 2"
	tests := []struct {
		name, sql string
		want      []store.AuditProblem
	}{
		{"timestamp", "UPDATE audit_log SET timestamp = timestamp + interval '1 microsecond' WHERE id = 3", row(store.AuditChanged, 3)},
		{"event type", "UPDATE audit_log SET event_type = 'Type' WHERE id = 1000", row(store.AuditChanged, 1000)},
		{"agent", "UPDATE audit_log SET agent_id = 'agent2' WHERE id = 1001", row(store.AuditChanged, 1001)},
		{"session removed", "UPDATE audit_log SET session_id = NULL WHERE id = 2", row(store.AuditChanged, 2)},
		{"session added", "UPDATE audit_log SET session_id = (SELECT id FROM sessions) WHERE id = 1", row(store.AuditChanged, 1)},
		{"resource", "UPDATE audit_log SET resource = 'R5' WHERE id = 5", row(store.AuditChanged, 5)},
		{"resource removed", "UPDATE audit_log SET resource = NULL WHERE id = 5", row(store.AuditChanged, 5)},
		{"action emptied", "UPDATE audit_log SET action = '' WHERE id = 5", row(store.AuditChanged, 5)},
		{"result added", "UPDATE audit_log SET result = 'ok' WHERE id IN (5, 6)", row(store.AuditChanged, 5)}, // 6 has it
		{"value moved to the next column", "UPDATE audit_log SET resource = action, action = resource WHERE id = 5", row(store.AuditChanged, 5)},
		{"metadata", "UPDATE audit_log SET metadata = metadata - 'z' WHERE id = 2500", row(store.AuditChanged, 2500)},
		{"id", "UPDATE audit_log SET id = -5 WHERE id = 7", append(row(store.AuditRemoved, 7), store.AuditProblem{Kind: store.AuditInserted, Block: 1, ID: -5})},
		{"two rows swapped", `UPDATE audit_log a SET event_type = b.event_type, agent_id = b.agent_id, timestamp = b.timestamp, resource = b.resource,
			metadata = b.metadata, result = b.result FROM audit_log b WHERE a.id + b.id = 30 AND a.id IN (10, 20)`, row(store.AuditChanged, 10, 20)},
		{"rows deleted", "DELETE FROM audit_log WHERE id IN (1, 1500, 2500)", row(store.AuditRemoved, 1, 1500, 2500)},
		{"a block deleted", "DELETE FROM audit_log WHERE id BETWEEN 1001 AND 2000 AND id > 1998", row(store.AuditRemoved, 1999, 2000)},
		{"a row inserted", "INSERT INTO audit_log (id, event_type, agent_id) VALUES (0, 'x', 'agent')", []store.AuditProblem{{Kind: store.AuditInserted, Block: 1}}},
		{"an expiry invented for the future", `WITH gone AS (DELETE FROM audit_log WHERE id = 3)
			INSERT INTO audit_log (event_type, agent_id, metadata) VALUES ('audit_expired', 'system', '{"before": 99999999999999999}')`, row(store.AuditRemoved, 3)},
		{"nonsense in expiries", `INSERT INTO audit_log (event_type, agent_id, metadata) VALUES ('audit_expired', 'system', '{"before": "x"}'), ('audit_expired', 'system', '[]'), ('audit_expired', 'system', NULL)`, nil},
		{"digest of a row", fmt.Sprintf(digest, "row_digests = set_byte(row_digests, 33, get_byte(row_digests, 33) # 1)"),
			append(chain(2), row(store.AuditChanged, 1002)...)},
		{"content digest", fmt.Sprintf(digest, "content_digest = sha256('x')"), chain(2)},
		{"digest", fmt.Sprintf(digest, "digest = sha256('x')"), chain(2, 3)},
		{"previous digest", fmt.Sprintf(digest, "previous_digest = sha256('x')"), chain(2)},
		{"time of the seal", fmt.Sprintf(digest, "sealed_at = sealed_at + interval '1 second'"), chain(2)},
		{"newest", fmt.Sprintf(digest, "newest = newest - interval '1 second'"), chain(2)},
		{"rows of a seal forgotten", fmt.Sprintf(digest, "ids = NULL, timestamps = NULL, session_ids = NULL, row_digests = NULL"), nil}, // compared by hand below
		{"seal deleted", "DELETE FROM audit_seal WHERE seal_no = 2", chain(3)},
		{"first seal deleted", "DELETE FROM audit_seal WHERE seal_no = 1", chain(2)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, f := setup(t)
			f.fillAudit(ctx, t, 2500)
			f.seal(ctx, t)
			if got := f.wantProblems(ctx, t); got.Blocks != 3 || got.Rows != 2500 {
				t.Fatalf("before: %+v", got)
			}
			change(ctx, t, test.sql)
			if test.name == "rows of a seal forgotten" {
				got, err := f.VerifyAudit(ctx)
				if err != nil || len(got.Problems) != 1001 || got.Problems[0] != chain(2)[0] || got.Problems[1] != (store.AuditProblem{Kind: store.AuditInserted, Block: 2, ID: 1001}) {
					t.Errorf("%d problems, error %v", len(got.Problems), err)
				}
				return
			}
			f.wantProblems(ctx, t, test.want...)
		})
	}
}

// A session that is deleted takes its id from its audit rows, which is no tampering.
func TestVerifyAuditAfterSessionDeleted(t *testing.T) {
	t.Parallel()
	needsOwner(t, "tampers with the audit log")
	ctx, f := setup(t)
	f.fillAudit(ctx, t, 10)
	f.seal(ctx, t)
	if err := f.DeleteSession(ctx, f.session.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE session_id IS NOT NULL"); n != 0 {
		t.Fatalf("%d rows still have the session", n)
	}
	if got := f.wantProblems(ctx, t); got.Rows != 10 {
		t.Errorf("verification %+v", got)
	}
	change(ctx, t, "UPDATE audit_log SET agent_id = 'other' WHERE id = 2")
	f.wantProblems(ctx, t, store.AuditProblem{Kind: store.AuditChanged, Block: 1, ID: 2})
}

// What the cleanup deletes is no tampering, and what is removed beside it is.
func TestVerifyAuditAfterCleanup(t *testing.T) {
	t.Parallel()
	needsOwner(t, "tampers with the audit log")
	ctx, m := storetest.Open(t, retain(t))
	f := fixture{m, newSession(ctx, t, m)}
	f.fillAudit(ctx, t, 2500)
	change(ctx, t, "UPDATE audit_log SET timestamp = now() - interval '11 days' WHERE id <= 1500")
	f.seal(ctx, t)
	first := f.wantProblems(ctx, t)
	report, err := m.Cleanup(ctx)
	if err != nil || report.OldAuditLogs != 1500 {
		t.Fatalf("%+v, error %v", report, err)
	}
	got := f.wantProblems(ctx, t)
	if got.Rows != 1000+2 || got.Blocks != first.Blocks+1 || got.Unsealed != 0 { // 2 say that rows have expired
		t.Errorf("verification %+v", got)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_seal WHERE ids IS NULL AND row_digests IS NULL"); n != 1 {
		t.Errorf("%d seals have dropped their digests, want the first", n)
	}
	change(ctx, t, "DELETE FROM audit_log WHERE id = 1600")
	change(ctx, t, "INSERT INTO audit_log (id, event_type, agent_id) VALUES (5, 'x', 'x'), (1005, 'x', 'x')")
	f.wantProblems(ctx, t, store.AuditProblem{Kind: store.AuditInserted, Block: 1, ID: 5}, store.AuditProblem{Kind: store.AuditChanged, Block: 2, ID: 1005},
		store.AuditProblem{Kind: store.AuditRemoved, Block: 2, ID: 1600})
	change(ctx, t, "UPDATE audit_seal SET content_digest = sha256('x') WHERE seal_no = 1")
	if got, err := m.VerifyAudit(ctx); err != nil || got.Problems[0] != (store.AuditProblem{Kind: store.AuditChain, Block: 1}) {
		t.Errorf("a changed seal without rows: %+v, error %v", got.Problems, err)
	}
}

// Several processes seal and verify while agents write, roll back and delete sessions: each row is sealed exactly once.
func TestSealAuditByManyAtOnce(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	const writers, each, sealers = 8, 40, 3
	done := make(chan struct{})
	writing, writingCtx := errgroup.WithContext(ctx)
	for writer := range writers {
		writing.Go(func() error {
			for i := range each {
				err := m.InTx(writingCtx, func(ctx context.Context) error {
					_, err := m.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: fmt.Sprint("agent_", writer), Content: "x"})
					if err == nil && i%5 == 4 {
						err = errFailed
					}
					return err
				})
				if ignore(err, errFailed) != nil {
					return err
				}
			}
			return nil
		})
	}
	sealing, sealingCtx := errgroup.WithContext(ctx)
	reports := make([]store.SealReport, sealers)
	for i := range sealers {
		_, own := storetest.Open(t, config)
		sealing.Go(func() error {
			for {
				report, err := own.SealAudit(sealingCtx)
				if err != nil {
					return err
				}
				reports[i].Rows += report.Rows
				if verification, err := own.VerifyAudit(sealingCtx); err != nil || len(verification.Problems) > 0 {
					return fmt.Errorf("verification %+v: %w", verification, err)
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
	}
	if err := writing.Wait(); err != nil {
		t.Error(err)
	}
	close(done)
	if err := sealing.Wait(); err != nil {
		t.Fatal(err)
	}
	sealed := f.seal(ctx, t).Rows
	for _, report := range reports {
		sealed += report.Rows
	}
	want := int64(1 + writers*each*4/5)
	if got := f.wantProblems(ctx, t); sealed != want || got.Rows != want || got.Unsealed != 0 {
		t.Errorf("%d rows were sealed and %d verified, want %d; %d are left", sealed, got.Rows, want, got.Unsealed)
	}
	if n := count(ctx, t, "SELECT count(*) - count(DISTINCT id) FROM (SELECT unnest(ids) AS id FROM audit_seal) AS sealed"); n != 0 {
		t.Errorf("%d rows are sealed twice", n)
	}
}

// Verifying while the cleanup deletes gives no false alarm.
func TestVerifyAuditDuringCleanup(t *testing.T) {
	t.Parallel()
	needsOwner(t, "tampers with the audit log")
	config := retain(t)
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	f.fillAudit(ctx, t, 6000)
	change(ctx, t, "UPDATE audit_log SET timestamp = now() - interval '11 days' - random() * interval '1 day'")
	f.seal(ctx, t)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { _, err := m.Cleanup(groupCtx); return err })
	for range 5 {
		f.wantProblems(ctx, t)
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	f.wantProblems(ctx, t)
}
