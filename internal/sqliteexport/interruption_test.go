package sqliteexport_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/sqliteexport"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// interrupting cancels when a phase begins.
type interrupting struct {
	phase  string
	cancel context.CancelFunc
}

func (p interrupting) Start(phase string, _ int64) {
	if strings.HasPrefix(phase, p.phase) {
		p.cancel()
	}
}
func (interrupting) Add(int) {}
func (interrupting) Stop()   {}

// Wherever an export is interrupted, it leaves no file.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	fill(ctx, t, odd)
	for _, phase := range []string{"writing sessions", "writing audit_log", "indexing", "checking", "verifying messages"} {
		directory := t.TempDir()
		interrupted, cancel := context.WithCancel(ctx)
		_, err := sqliteexport.Export(interrupted, manager, filepath.Join(directory, "out.db"), sqliteexport.Options{Progress: interrupting{phase, cancel}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", phase, err)
		}
		left, err := os.ReadDir(directory)
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left behind %v, %v", phase, left, err)
		}
	}
}

// waiting lets a server see an idle transaction, as the indexing of a large file does.
type waiting struct {
	importer.Silent
	indexing func()
}

func (p waiting) Start(phase string, _ int64) {
	if phase == "indexing" {
		p.indexing()
	}
}

// A server that ends idle transactions does not end the one that is idle while SQLite builds its indexes.
func TestIdleTransaction(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	ctx, watcher := storetest.Open(t, config)
	if _, err := store.ExecuteUpdate(ctx, `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET idle_in_transaction_session_timeout = 200', current_database()); END $$`); err != nil {
		t.Fatal(err)
	}
	exporting, manager := storetest.Open(t, config)
	waited := false
	progress := waiting{indexing: func() {
		// The server waits, five times as long as it lets a transaction be idle.
		_, err := store.ExecuteQuery(store.NewContext(ctx, watcher), "SELECT pg_sleep(1)::text AS waited")
		if waited = err == nil; err != nil {
			t.Error(err)
		}
	}}
	_, err := sqliteexport.Export(exporting, manager, filepath.Join(t.TempDir(), "out.db"), sqliteexport.Options{Progress: progress})
	if err != nil || !waited {
		t.Errorf("%v, waited %v", err, waited)
	}
}
