package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

const (
	// More than two batches of a thousand.
	expiredMemoryRows = 2500
	oldAuditRows      = 2100
)

// fillForCleanup writes rows to delete and rows to keep, for a retention of 10 days.
func fillForCleanup(ctx context.Context, tb testing.TB) {
	tb.Helper()
	for _, statement := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO agent_memory (agent_id, key, value, created_at, expires_at)
			SELECT 'expired', 'k' || n, 'v', now() - interval '1 day', now() - n * interval '1 second' FROM generate_series(0, ?::int - 1) AS n`, []any{expiredMemoryRows}},
		{`INSERT INTO agent_memory (agent_id, key, value, expires_at) VALUES
			('kept', 'lives', 'v', now() + interval '1 minute'), ('kept', 'forever', 'v', NULL)`, nil},
		{`INSERT INTO audit_log (event_type, agent_id, timestamp)
			SELECT 'old', 'agent', now() - interval '10 days 1 minute' - n * interval '1 second' FROM generate_series(0, ?::int - 1) AS n`, []any{oldAuditRows}},
		{`INSERT INTO audit_log (event_type, agent_id, timestamp) VALUES
			('kept', 'agent', now() - interval '9 days 23 hours 59 minutes'), ('kept', 'agent', now())`, nil},
	} {
		if _, err := store.ExecuteUpdate(ctx, statement.sql, statement.args...); err != nil {
			tb.Fatal(err)
		}
	}
}

func wantCleanedUp(ctx context.Context, tb testing.TB) {
	tb.Helper()
	for sql, want := range map[string]int64{
		"SELECT count(*) FROM agent_memory":                                  2,
		"SELECT count(*) FROM agent_memory WHERE agent_id = 'kept'":          2,
		"SELECT count(*) FROM audit_log WHERE event_type <> 'audit_expired'": 2,
		"SELECT count(*) FROM audit_log WHERE event_type = 'kept'":           2,
		"SELECT count(*) FROM agent_memory WHERE expires_at <= now()":        0,
	} {
		if got := count(ctx, tb, sql); got != want {
			tb.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

func TestCleanupExpiredData(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	config := storetest.Config(t)
	config.AuditRetention = 10 * 24 * time.Hour
	ctx, m := storetest.Open(t, config)
	fillForCleanup(ctx, t)

	err := m.InTx(ctx, func(ctx context.Context) error {
		got, err := store.CleanupExpiredData(ctx)
		if diff := cmp.Diff(store.CleanupStats{ExpiredMemory: expiredMemoryRows, OldAuditLogs: oldAuditRows}, got); diff != "" || err != nil {
			t.Errorf("in a transaction: %v (-want +got):\n%s", err, diff)
		}
		wantCleanedUp(ctx, t)
		return errFailed
	})
	wantError(t, err, errFailed)

	got, err := store.CleanupExpiredData(ctx)
	if diff := cmp.Diff(store.CleanupStats{ExpiredMemory: expiredMemoryRows, OldAuditLogs: oldAuditRows}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	wantCleanedUp(ctx, t)
	if diff := cmp.Diff([]string{"expired_memory", "old_audit_logs"}, jsonKeys(t, got)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}

	got, err = store.CleanupExpiredData(ctx)
	if diff := cmp.Diff(store.CleanupStats{}, got); diff != "" || err != nil {
		t.Errorf("once more: %v (-want +got):\n%s", err, diff)
	}
}

func TestCleanupByManyAtOnce(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	config := storetest.Config(t)
	config.AuditRetention = 10 * 24 * time.Hour
	ctx, _ := storetest.Open(t, config)
	fillForCleanup(ctx, t)

	const cleaners = 4
	var stats [cleaners]store.CleanupStats
	var errs [cleaners]error
	var cleaning sync.WaitGroup
	for i := range cleaners {
		ctx, _ := storetest.Open(t, config)
		cleaning.Go(func() { stats[i], errs[i] = store.CleanupExpiredData(ctx) })
	}
	cleaning.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
	var sum store.CleanupStats
	for _, s := range stats {
		sum.ExpiredMemory += s.ExpiredMemory
		sum.OldAuditLogs += s.OldAuditLogs
	}
	if diff := cmp.Diff(store.CleanupStats{ExpiredMemory: expiredMemoryRows, OldAuditLogs: oldAuditRows}, sum); diff != "" {
		t.Errorf("deleted together (-want +got):\n%s", diff)
	}
	wantCleanedUp(ctx, t)
}

// Rows that another process is deleting at the moment are left to it.
func TestCleanupDoesNotWait(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	config := storetest.Config(t)
	config.AuditRetention = 10 * 24 * time.Hour
	ctx, m := storetest.Open(t, config)
	fillForCleanup(ctx, t)
	err := m.InTx(ctx, func(inTx context.Context) error {
		if _, err := store.ExecuteUpdate(inTx, "DELETE FROM agent_memory WHERE agent_id = 'expired' AND id % 2 = 0"); err != nil {
			return err
		}
		got, err := store.CleanupExpiredData(store.WithoutTx(inTx))
		if diff := cmp.Diff(store.CleanupStats{ExpiredMemory: expiredMemoryRows / 2, OldAuditLogs: oldAuditRows}, got); diff != "" {
			t.Errorf("beside another one (-want +got):\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCleanedUp(ctx, t)
}

func TestCleanupReportsWhatItDidBeforeItFailed(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	config := storetest.Config(t)
	config.AuditRetention = 10 * 24 * time.Hour
	ctx, _ := storetest.Open(t, config)
	fillForCleanup(ctx, t)
	if _, err := store.ExecuteUpdate(ctx, "ALTER TABLE audit_log RENAME TO elsewhere"); err != nil {
		t.Fatal(err)
	}
	got, err := store.CleanupExpiredData(ctx)
	var missing *store.DatabaseSchemaError
	if !errors.As(err, &missing) || missing.Op != "clean up old audit rows" {
		t.Errorf("got error %v, want a DatabaseSchemaError", err)
	}
	if diff := cmp.Diff(store.CleanupStats{ExpiredMemory: expiredMemoryRows}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
