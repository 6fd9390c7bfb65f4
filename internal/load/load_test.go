package load_test

import (
	"sync/atomic"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/load"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// What was loaded is read like what agents wrote, and is all that Remove removes.
func TestFillAndRemove(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	ctx, m := storetest.Open(t, config)
	other, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "stays", CreatedBy: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	var copied atomic.Int64
	report, err := load.Fill(ctx, config.URL, load.Options{Messages: 5000, Sessions: 10, Progress: func(n int) { copied.Add(int64(n)) }})
	if err != nil {
		t.Fatal(err)
	}
	if copied.Load() != 5000 || len(report.Sessions) != 10 {
		t.Errorf("%d messages reported in %d sessions, want 5000 in 10", copied.Load(), len(report.Sessions))
	}
	for _, session := range report.Sessions {
		counts, err := m.CountMessages(ctx, session, store.Reader{AgentID: "root", Admin: true})
		if err != nil || counts.Total != 500 || len(counts.ByVisibility) < 3 || len(counts.BySender) != 20 {
			t.Errorf("session %s holds %+v, %v; want 500 messages of 20 senders", session, counts, err)
		}
	}
	if _, err := m.AddMessage(ctx, report.Sessions[0], store.NewMessage{Sender: "alice", Content: "after"}); err != nil {
		t.Error(err)
	}
	removed, err := load.Remove(ctx, config.URL)
	if err != nil || removed != 10 {
		t.Errorf("removed %d sessions, %v; want 10", removed, err)
	}
	totals, err := m.Totals(ctx, store.Reader{AgentID: "root", Admin: true})
	if err != nil || totals.Sessions != 1 || totals.Messages != 0 {
		t.Errorf("left %+v, %v; want session %s alone", totals, err, other.ID)
	}
	if _, err := load.Fill(ctx, config.URL, load.Options{Messages: 1}); err == nil {
		t.Error("no error without sessions")
	}
}
