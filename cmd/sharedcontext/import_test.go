package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// legacyFile returns a file with so many messages in two sessions, one of which is gone.
func legacyFile(t *testing.T, word string, messages int) string {
	t.Helper()
	file := legacytest.New(t, 3)
	file.Session("session_0000000000000001")
	file.Exec("BEGIN")
	for i := range messages {
		session := "session_0000000000000001"
		if i%50 == 49 {
			session = "session_0000000000000002"
		}
		file.Insert("messages", "session_id", session, "sender", "a", "content", fmt.Sprintf("%s %d\x00", word, i), "timestamp", float64(i)+0.123456,
			"metadata", `{"i": [1, 2, 3]}`)
	}
	file.Insert("audit_log", "event_type", "e", "agent_id", "a", "timestamp", 1)
	file.Exec("COMMIT")
	file.Close()
	return file.Path
}

func TestImportCommand(t *testing.T) {
	path := legacyFile(t, "message", 100)
	t.Chdir(t.TempDir())
	withDatabase(t, storetest.EmptyConfig(t).URL)
	call(t, "verify", path).want(t, exitFailure, "", "sharedcontext: verify: the database has no tables; import the file first")
	r := call(t, "import", "--dry-run", path)
	r.want(t, exitOK, "dry run: nothing was written\n", "looking at messages (100 rows)\n")
	if names, err := os.ReadDir("."); err != nil || len(names) > 0 {
		t.Errorf("a dry run writes %v, %v", names, err)
	}
	call(t, "migrate", "status").want(t, exitOK, "version 0 of ", "")

	r = call(t, "import", "--batch", "30", path)
	r.want(t, exitOK, "\nPASS: ", "copying messages (100 rows)\n")
	for _, text := range []string{"rows        1 sessions, 100 messages", "nul_removed              100\n", "report      chat_history.import-report.jsonl\n", "PASS 100 of 100, sha256 "} {
		if !strings.Contains(r.out, text) {
			t.Errorf("%q is not in:\n%s", text, r.out)
		}
	}
	report, err := os.ReadFile("chat_history.import-report.jsonl")
	if err != nil || strings.Count(string(report), "\n") != 103 || !strings.Contains(string(report),
		`{"table":"messages","id":1,"action":"repaired","rule":"nul_removed","column":"content","before":"message 0\u0000","after":"message 0"}`+"\n") {
		t.Errorf("%v:\n%.500s", err, report)
	}
	call(t, "import", path).want(t, exitOK, "PASS: imported before, nothing was written\n", "")
	r = call(t, "verify", "--json", path)
	r.want(t, exitOK, "", "verifying messages")
	var result importer.Result
	r.decode(t, &result)
	if !result.Pass || result.Tables[1].Found != 100 || result.AlreadyImported == nil {
		t.Errorf("%+v", result)
	}

	ctx, _ := storetest.Open(t, store.Config{URL: os.Getenv("DATABASE_URL"), MinConnections: -1})
	if _, err := store.ExecuteUpdate(ctx, "DELETE FROM messages WHERE id = 7"); err != nil {
		t.Fatal(err)
	}
	r = call(t, "verify", path)
	r.want(t, exitFailure, "FAIL 99 of 100 found, row 7 is missing", "sharedcontext: verify: FAIL: ")
	r = call(t, "import", "--json", path)
	r.want(t, exitFailure, `"pass": false`, "sharedcontext: import: FAIL: ")
	other := legacyFile(t, "other", 50)
	call(t, "import", other).want(t, exitFailure, "", "of the file collides: ")
	call(t, "import", "--dry-run", other).want(t, exitFailure, "", "dry run: rows of the file collide")
	call(t, "import", "--remap-ids", other).want(t, exitOK, "new ones, behind those of the database", "")
}

func TestImportRefuses(t *testing.T) {
	withDatabase(t, unreachable)
	path := legacyFile(t, "message", 1)
	for _, test := range []struct {
		args    []string
		code    int
		problem string
	}{
		{[]string{"import"}, exitUsage, "accepts 1 arg(s)"},
		{[]string{"import", "--on-orphan", "x", path}, exitUsage, "neither placeholder nor skip"},
		{[]string{"verify", "--on-orphan", "x", path}, exitUsage, "neither placeholder nor skip"},
		{[]string{"import", "--batch", "0", path}, exitUsage, "--batch is 0"},
		{[]string{"import", filepath.Join(t.TempDir(), "none.db")}, exitFailure, "none.db does not exist"},
		{[]string{"import", path}, exitFailure, "sharedcontext: import: "},
		{[]string{"verify", path}, exitFailure, "sharedcontext: verify: "},
	} {
		r := call(t, test.args...)
		r.want(t, test.code, "", test.problem)
		if strings.Contains(r.out+r.err, "sEcReT") {
			t.Errorf("%v: the password is shown:\n%s%s", test.args, r.out, r.err)
		}
	}
	withDatabase(t, storetest.Config(t).URL)
	call(t, "import", "--report", filepath.Join(t.TempDir(), "none", "report"), path).want(t, exitFailure, "", "no such file or directory")
}

// state returns all that an import writes, but for its time and transaction.
func state(t *testing.T, url string) []map[string]any {
	t.Helper()
	ctx, _ := storetest.Open(t, store.Config{URL: url, MinConnections: -1})
	rows, err := store.ExecuteQuery(ctx, `SELECT 's' || to_jsonb(t)::text AS v FROM sessions t UNION ALL SELECT 'm' || (to_jsonb(t) - 'transaction_id')::text FROM messages t
		UNION ALL SELECT 'a' || to_jsonb(t)::text FROM audit_log t UNION ALL SELECT 'f' || (to_jsonb(t) - 'imported_at')::text FROM imported_files t
		UNION ALL SELECT 'q' || to_jsonb(s)::text FROM (SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()) s ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestImportKilled kills imports at random moments, some with new ids. Run again, the result is that of a run without
// interruption, the report included.
func TestImportKilled(t *testing.T) {
	first, path := legacyFile(t, "first", 20), legacyFile(t, "second", 1500)
	imports := func(url, report string, remap bool) *exec.Cmd {
		args := []string{"import", "--batch", "100", "--report", report}
		if remap {
			args = append(args, "--remap-ids")
		}
		cmd := process(t, append(args, path)...)
		cmd.Env = append(cmd.Env, "DATABASE_URL="+url)
		return cmd
	}
	// database returns an empty one for the import, whose schema it also makes; where ids are given anew, one that holds
	// another file.
	database := func(remap bool) string {
		withDatabase(t, storetest.EmptyConfig(t).URL)
		url := os.Getenv("DATABASE_URL")
		if remap {
			call(t, "import", "--report", filepath.Join(t.TempDir(), "first"), first).want(t, exitOK, "PASS", "")
		}
		return url
	}
	for _, remap := range []bool{false, true} {
		directory := t.TempDir()
		clean, cleanReport := database(remap), filepath.Join(directory, "clean.jsonl")
		begin := time.Now()
		if out, err := imports(clean, cleanReport, remap).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		whole := time.Since(begin)
		want := state(t, clean)
		wantReport, err := os.ReadFile(cleanReport)
		if err != nil {
			t.Fatal(err)
		}
		killed := 0
		for round := range 4 {
			url, report := database(remap), filepath.Join(directory, fmt.Sprintf("%d.jsonl", round))
			for range 4 {
				cmd := imports(url, report, remap)
				var said strings.Builder
				cmd.Stderr = &said
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				kill := time.AfterFunc(time.Duration(rand.Int64N(int64(whole))), func() { _ = cmd.Process.Kill() }) // it may have ended
				err := cmd.Wait()
				kill.Stop()
				var exit *exec.ExitError
				if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
					killed++
				} else if err != nil {
					t.Fatalf("an import that was not killed: %v\n%s", err, &said)
				}
			}
			if out, err := imports(url, report, remap).CombinedOutput(); err != nil {
				t.Fatalf("after the kills: %v\n%s", err, out)
			}
			if diff := cmp.Diff(want, state(t, url)); diff != "" {
				t.Fatalf("remap %v, round %d (-without interruption +with):\n%.3000s", remap, round, diff)
			}
			if got, err := os.ReadFile(report); err != nil || string(got) != string(wantReport) {
				t.Errorf("round %d: the report differs, %v", round, err)
			}
		}
		t.Logf("remap %v: %d of 16 imports were killed within %v", remap, killed, whole)
		if killed == 0 {
			t.Error("no import was killed")
		}
	}
}

// TestImportInterrupted ends at a signal as a failure, with nothing imported.
func TestImportInterrupted(t *testing.T) {
	withDatabase(t, storetest.Config(t).URL)
	path := legacyFile(t, "message", 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := callContext(ctx, "import", "--report", filepath.Join(t.TempDir(), "r"), path)
	r.want(t, exitFailure, "", "interrupted")
	call(t, "import", "--report", filepath.Join(t.TempDir(), "r"), path).want(t, exitOK, "PASS", "")
}

func TestRowBar(t *testing.T) {
	t.Parallel()
	var shown strings.Builder
	p := &rowBar{w: &shown}
	p.Stop() // before any start
	p.Add(1)
	p.Start("checking", -1)
	p.Start("copying messages", 1000)
	p.Add(500)
	p.Stop()
	if text := shown.String(); !strings.Contains(text, "checking") || !strings.Contains(text, "copying messages") {
		t.Errorf("shown %q", text)
	}
}

func TestExportSQLite(t *testing.T) {
	withDatabase(t, storetest.Config(t).URL)
	path := filepath.Join(t.TempDir(), "out.db")
	call(t, "export-sqlite", path).want(t, exitOK, "PASS: ", "writing messages")
	call(t, "export-sqlite", path).want(t, exitFailure, "", "exists already")
	r := call(t, "export-sqlite", "--force", "--json", path)
	r.want(t, exitOK, `"pass": true`, "")
	call(t, "verify", path).want(t, exitOK, "PASS", "")
	call(t, "export-sqlite").want(t, exitUsage, "", "arg")
}
