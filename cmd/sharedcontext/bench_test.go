package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/bench"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestBench(t *testing.T) {
	withDatabase(t, storetest.EmptyConfig(t).URL)
	call(t, "bench", "--operations", "50").want(t, exitOK, "p99.9", "20 agents in a new session")
	r := call(t, "bench", "--agents", "1,3", "--mix", "add", "--operations", "20", "--json")
	r.want(t, exitOK, "", "")
	var reports []bench.Report
	r.decode(t, &reports)
	if len(reports) != 2 || reports[1].Agents != 3 || reports[1].ByOperation["add"].Calls != 20 || reports[1].PerSecond <= 0 {
		t.Errorf("%+v", reports)
	}
	page := filepath.Join(t.TempDir(), "bench.html")
	call(t, "bench", "--agents", "2", "--mix", "page", "--operations", "10", "--plot", page).want(t, exitOK, "page", "")
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "Latency over time: 2 agents") {
		t.Errorf("plot %.200s, %v", text, err)
	}
	call(t, "bench", "--pgbench", "--mix", "add").want(t, exitUsage, "", "pgbench")
	call(t, "bench", "--pgbench", "--duration", "10ms").want(t, exitUsage, "", "a second or more")
	if _, err := bench.FindPgbench(); err == nil {
		call(t, "bench", "--pgbench", "--agents", "2", "--duration", "1s", "--rounds", "1").want(t, exitOK, "ratio of the medians", "")
	}
	call(t, "bench", "--mix", "serch").want(t, exitUsage, "", "known are add, ")
	call(t, "bench", "--agents", "0").want(t, exitUsage, "", "--agents must be 1 or more")
	withDatabase(t, unreachable)
	call(t, "bench", "--operations", "1").want(t, exitFailure, "", "check that the server runs")
}
