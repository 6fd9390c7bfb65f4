package bench

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestScript(t *testing.T) {
	t.Parallel()
	statement := sent{
		sql:  "-- name: MessageAdd :one\nSELECT $1, $2::jsonb, $10, $3",
		args: []any{"a b", json.RawMessage(nil), (*int64)(nil), "", "", "", "", "", "", "ten"},
	}
	script, variables, err := statement.script()
	if err != nil {
		t.Fatal(err)
	}
	if want := "SELECT :p1, nullif(:p2, 'none')::jsonb, :p10, nullif(:p3, 'none');\n"; script != want {
		t.Errorf("script %q, want %q", script, want)
	}
	want := []string{"--define=p1=a b", "--define=p2=none", "--define=p3=none"}
	if diff := cmp.Diff(want, variables[:3]); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	statement.args = []any{3.5}
	if _, _, err := statement.script(); err == nil || !strings.Contains(err.Error(), "float64") {
		t.Errorf("a parameter that pgbench cannot send: %v", err)
	}
}

func TestParsePgbench(t *testing.T) {
	t.Parallel()
	got, err := parsePgbench("latency average = 1 ms\ntps = 9834.838781 (without initial connection time)\n")
	if err != nil || got != 9834.838781 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parsePgbench("nothing"); err == nil {
		t.Error("no error")
	}
}

// pgbench adds messages with the statement of the store, and what both have written is gone afterwards.
func TestCompare(t *testing.T) {
	t.Parallel()
	program, err := FindPgbench()
	if errors.Is(err, ErrNoPgbench) {
		t.Skip(err)
	}
	config := storetest.Config(t)
	ctx, manager := storetest.Open(t, config)
	c, err := Compare(ctx, config, manager, program, 2, 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Store) != 1 || len(c.Pgbench) != 1 || c.Store[0] <= 0 || c.Pgbench[0] <= 0 || c.Ratio != c.Store[0]/c.Pgbench[0] {
		t.Errorf("comparison %+v", c)
	}
	rows, err := store.ExecuteQuery(ctx, `SELECT (SELECT count(*) FROM sessions) AS sessions, (SELECT count(*) FROM messages) AS messages,
		(SELECT count(*) FROM audit_log WHERE event_type = 'message_added' AND agent_id = 'bench-pgbench') AS by_pgbench`)
	if err != nil {
		t.Fatal(err)
	}
	// One message is the store's, the others are pgbench's.
	if rows[0]["sessions"] != int64(0) || rows[0]["messages"] != int64(0) || rows[0]["by_pgbench"].(int64) < 2 {
		t.Errorf("left behind: %v", rows[0])
	}
	if _, err := Compare(ctx, config, manager, "/nonexistent/pgbench", 2, 1, time.Second); err == nil {
		t.Error("no error without the program")
	}
}
