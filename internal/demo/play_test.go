package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustSample(t *testing.T) *Transcript {
	t.Helper()
	transcript, err := Sample()
	if err != nil {
		t.Fatal(err)
	}
	return transcript
}

func TestPlaySample(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	transcript := mustSample(t)
	report, err := Play(ctx, manager, Options{Transcript: transcript, Server: "a test's server"})
	if err != nil {
		t.Fatal(err)
	}
	for _, mismatch := range report.Mismatches {
		t.Error(mismatch)
	}
	if !report.OK || report.Verdict() != verdict {
		t.Errorf("report: OK is %v, verdict %q", report.OK, report.Verdict())
	}
	if report.Written != len(transcript.Entries) || report.AddMessage.Calls != int64(len(transcript.Entries)) {
		t.Errorf("written %d, timed %d, want %d", report.Written, report.AddMessage.Calls, len(transcript.Entries))
	}
	if report.Reads == 0 || report.Lists == 0 || report.MessagesRead == 0 {
		t.Errorf("nothing was verified: %+v", report)
	}
	if n := countRows(ctx, t, "sessions"); n != int64(len(transcript.Conversations)) {
		t.Errorf("%d sessions are there, want %d", n, len(transcript.Conversations))
	}
}

func countRows(ctx context.Context, t *testing.T, table string) int64 {
	t.Helper()
	rows, err := store.ExecuteQuery(ctx, "SELECT count(*) AS n FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	return rows[0]["n"].(int64)
}

func TestPlayTranscriptFile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("short: the full transcript takes a while")
	}
	name := os.Getenv("SHAREDCONTEXT_TRANSCRIPT")
	if name == "" {
		name = filepath.Join("..", "..", "..", "shared", "data", "transcript.jsonl")
	}
	if _, err := os.Stat(name); err != nil {
		t.Skipf("no transcript (name one in SHAREDCONTEXT_TRANSCRIPT): %v", err)
	}
	transcript, err := ReadTranscriptFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, manager := storetest.New(t)
	report, err := Play(ctx, manager, Options{Transcript: transcript, Server: "a test's server"})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", text.String())
	if !report.OK {
		t.Error(report.Verdict())
	}
}

// TestDamage alters one thing between writing and reading. Each must be found, and named.
func TestDamage(t *testing.T) {
	t.Parallel()
	// The second message of the sample, which is public and answers the first.
	const row = " WHERE id = ?"
	for _, test := range []struct {
		name, sql, problem string
		noMessage          bool // the problem is not about that message
	}{
		{name: "deleted message", sql: "DELETE FROM messages" + row, problem: "it is missing"},
		{name: "altered content", sql: "UPDATE messages SET content = overlay(content placing '#' from 5)" + row,
			problem: "content differs from character 5 on"},
		{name: "other sender", sql: "UPDATE messages SET sender = 'someone'" + row, problem: `sender is "someone"`},
		{name: "other sender type", sql: "UPDATE messages SET sender_type = 'gemini'" + row, problem: `sender_type is "gemini"`},
		{name: "widened visibility", sql: "UPDATE messages SET visibility = 'public' WHERE visibility = 'private' AND id <> ?",
			problem: "this reader must not get it", noMessage: true},
		{name: "narrowed visibility", sql: "UPDATE messages SET visibility = 'admin_only'" + row, problem: "it is missing"},
		{name: "lost metadata", sql: "UPDATE messages SET metadata = NULL" + row, problem: "metadata is nothing"},
		{name: "altered metadata", sql: `UPDATE messages SET metadata = '{"steps": 4}'` + row, problem: `metadata is {"steps": 4}, not {"steps": 3}`},
		{name: "lost parent", sql: "UPDATE messages SET parent_message_id = NULL" + row, problem: "parent is missing"},
		{name: "other parent", sql: "UPDATE messages SET parent_message_id = id" + row, problem: "parent is message"},
		{name: "later", sql: "UPDATE messages SET timestamp = timestamp + interval '1 hour'" + row, problem: "timestamp is"},
		{name: "out of order", sql: "UPDATE messages SET timestamp = timestamp + interval '1 hour'" + row, problem: "it belongs to place"},
		{name: "other type", sql: "UPDATE messages SET message_type = 'error'" + row, problem: `message_type is "error"`},
		{name: "a message too much", sql: `INSERT INTO messages (session_id, sender, sender_type, content, visibility, message_type)
			SELECT session_id, sender, sender_type, content, visibility, message_type FROM messages WHERE id = ?`,
			problem: "this reader must not get it", noMessage: true},
		{name: "altered purpose", sql: "UPDATE sessions SET purpose = 'other' WHERE id = (SELECT session_id FROM messages WHERE id = ?)",
			problem: `purpose is "other"`, noMessage: true},
		{name: "inactive session", sql: "UPDATE sessions SET is_active = false WHERE id = (SELECT session_id FROM messages WHERE id = ?)",
			problem: "the session is missing", noMessage: true},
		{name: "deleted session", sql: "DELETE FROM sessions WHERE id = (SELECT session_id FROM messages WHERE id = ?)",
			problem: "the session is missing", noMessage: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, manager := storetest.New(t)
			transcript := mustSample(t)
			var damaged *written
			var session string
			report, err := Play(ctx, manager, Options{
				Transcript: transcript,
				beforeReading: func(ctx context.Context, p *playback) error {
					damaged = p.written[1]
					session = p.sessions[damaged.entry.Session].ID
					n, err := store.ExecuteUpdate(ctx, test.sql, damaged.id)
					if err == nil && n == 0 {
						err = errors.New("the damage did nothing")
					}
					return err
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if report.OK || report.Verdict() == verdict {
				t.Fatal("the damage was not found")
			}
			var text strings.Builder
			if err := report.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), "difference: session ") {
				t.Errorf("the text names no difference:\n%s", text.String())
			}
			for _, m := range report.Mismatches {
				if !strings.Contains(m.Problem, test.problem) || m.Reader == "" || m.Read == "" {
					continue
				}
				if test.noMessage || m.Session == session && m.MessageID == damaged.id && m.Line == damaged.entry.Line {
					return
				}
			}
			t.Errorf("no mismatch says %q about line %d:\n%v", test.problem, damaged.entry.Line, report.Mismatches)
		})
	}
}

// TestDelete leaves sessions alone that are not of the run.
func TestDelete(t *testing.T) {
	t.Parallel()
	failure := errors.New("cut short")
	for _, test := range []struct {
		name string
		end  error // of the run, before reading
	}{{"after success", nil}, {"after a failure", failure}, {"after an interruption", context.Canceled}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, manager := storetest.New(t)
			other, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "of somebody else", CreatedBy: "somebody"})
			if err != nil {
				t.Fatal(err)
			}
			run, cancel := context.WithCancel(ctx)
			defer cancel()
			report, err := Play(run, manager, Options{
				Transcript: mustSample(t), Delete: true,
				beforeReading: func(context.Context, *playback) error {
					if errors.Is(test.end, context.Canceled) {
						cancel()
						return nil
					}
					return test.end
				},
			})
			if !errors.Is(err, test.end) {
				t.Fatalf("error is %v, want %v", err, test.end)
			}
			if ok := test.end == nil; report.OK != ok || (report.Verdict() == verdict) != ok || (report.Error == "") != ok {
				t.Errorf("report: OK %v, verdict %q, error %q", report.OK, report.Verdict(), report.Error)
			}
			if report.Deleted != 3 {
				t.Errorf("%d sessions deleted, want 3", report.Deleted)
			}
			if n := countRows(ctx, t, "sessions"); n != 1 {
				t.Errorf("%d sessions are left, want 1", n)
			}
			if _, err := manager.GetSession(ctx, other.ID, store.Reader{AgentID: "somebody"}); err != nil {
				t.Errorf("the session of somebody else: %v", err)
			}
		})
	}
}

// TestWriteError has a message refused half-way: all agents must end, and the error must say which line it was.
func TestWriteError(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	transcript := mustSample(t)
	damaged := transcript.Entries[len(transcript.Entries)/2]
	damaged.Content = strings.Repeat("x", maxContent+1)
	report, err := Play(ctx, manager, Options{Transcript: transcript, Delete: true})
	var invalid *store.ValidationError
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), fmt.Sprintf("line %d:", damaged.Line)) {
		t.Fatalf("error is %v", err)
	}
	if report.OK || report.Written >= report.Messages {
		t.Errorf("report: OK %v, %d of %d written", report.OK, report.Written, report.Messages)
	}
	if n := countRows(ctx, t, "messages"); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// TestUncleanTexts plays texts that the store does not keep as they are: control characters and outer white space.
func TestUncleanTexts(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	transcript := mustSample(t)
	transcript.Entries[0].Content = "\u00a0 bell\a, escape\u001b[1m, DEL\u007f, C1\u0085, tab\tstays \n"
	transcript.Entries[4].SenderType = " claude\n"
	report, err := Play(ctx, manager, Options{Transcript: transcript})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK || report.Cleaned != 1 {
		t.Errorf("OK %v, %d cleaned, %v", report.OK, report.Cleaned, report.Mismatches)
	}
}
