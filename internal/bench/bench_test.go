package bench

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	mix, err := ParseMix(strings.Join(Names(), ",") + "")
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(ctx, manager, Options{Agents: 5, Mix: mix, Operations: 300, Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	counts, err := manager.CountMessages(ctx, report.SessionID, store.Reader{AgentID: "root", Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.All.Calls != 300 || len(report.Errors) != 0 || counts.Total == 0 || counts.Total != report.ByOperation["add"].Calls {
		t.Errorf("%d messages, report %+v", counts.Total, report)
	}
	manager.Close(ctx)
	if _, err := Run(ctx, manager, Options{Agents: 1, Mix: mix, Operations: 1}); err == nil {
		t.Error("no error of a closed manager")
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	report, err := Run(ended, manager, Options{Agents: 5, Mix: []Share{{"add", 1}}, Operations: 300})
	if err != nil || report.All.Calls != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := manager.GetSession(ctx, report.SessionID, store.Reader{AgentID: "root", Admin: true}); err == nil {
		t.Error("the session is left behind")
	}
}

func TestParseMix(t *testing.T) {
	t.Parallel()
	for text, problem := range map[string]string{
		"serch=1": "known are add, ", "add=0": "whole number", "add=x": "whole number", "add,add=2": "twice", "": "unknown operation",
	} {
		if _, err := ParseMix(text); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestErrorsAreCounted(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	if _, err := store.ExecuteUpdate(ctx, "ALTER TABLE agent_memory ADD CHECK (value = '')"); err != nil {
		t.Fatal(err)
	}
	report, err := Run(ctx, manager, Options{Agents: 3, Mix: []Share{{"memory-set", 1}}, Operations: 10})
	if err != nil || report.All.Calls != 0 || len(report.Errors) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	for text, n := range report.Errors {
		if n != 10 || !strings.Contains(text, "memory-set: set memory: ") {
			t.Errorf("%d of %q", n, text)
		}
	}
}
