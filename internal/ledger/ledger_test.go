package ledger_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/internal/ledger"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheck(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	write := func(contents ...string) (session string) {
		t.Helper()
		created, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "ledger", CreatedBy: "tester"})
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range contents {
			if _, err := m.AddMessage(ctx, created.ID, store.NewMessage{Sender: "tester", Content: content}); err != nil {
				t.Fatal(err)
			}
		}
		return created.ID
	}
	note := func(l *ledger.Ledger) {
		l.Acknowledged("acknowledged")
		l.Acknowledged("acknowledged")
		l.Unknown("arrived")
		l.Unknown("lost")
		l.Refused("refused")
		l.Refused("repeated")
		l.Acknowledged("repeated")
	}
	for name, test := range map[string]struct {
		present []string
		want    ledger.Report
		wrong   []string
	}{
		"all is well": {
			present: []string{"acknowledged", "arrived", "repeated"},
			want:    ledger.Report{Acknowledged: 2, Present: 2, Unknown: 2, Arrived: 1, Refused: 1},
		},
		"lost": {
			present: []string{"acknowledged"},
			want:    ledger.Report{Acknowledged: 2, Present: 1, Unknown: 2, Refused: 1},
			wrong:   []string{`1 messages are wrong`, `acknowledged but missing: "repeated"`},
		},
		"doubled": {
			present: []string{"acknowledged", "acknowledged", "repeated", "arrived", "arrived", "arrived"},
			want:    ledger.Report{Acknowledged: 2, Present: 2, Duplicated: 2, Unknown: 2, Arrived: 1, Refused: 1},
			wrong:   []string{`there 2 times: "acknowledged"`, `there 3 times: "arrived"`},
		},
		"from nowhere": {
			present: []string{"acknowledged", "repeated", "refused", "strange"},
			want:    ledger.Report{Acknowledged: 2, Present: 2, Unknown: 2, Refused: 1},
			wrong:   []string{`refused but there: "refused"`, `nobody has written it: "strange"`},
		},
	} {
		var entries ledger.Ledger
		note(&entries)
		if got := entries.Count(); got != 2 {
			t.Errorf("%d are acknowledged, want 2", got)
		}
		got, err := entries.Check(ctx, m, write(test.present...))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: report (-want +got):\n%s", name, diff)
		}
		if (err == nil) != (test.wrong == nil) {
			t.Errorf("%s: got error %v", name, err)
		}
		for _, text := range test.wrong {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: the error lacks %s: %v", name, text, err)
			}
		}
	}
}

func TestNote(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	session, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "ledger", CreatedBy: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "tester", Content: "added"})
	var entries ledger.Ledger
	entries.Note("added", err)
	entries.Note("refused", unreachable(t))
	entries.Note("unknown", errors.New("anything else"))
	got, err := entries.Check(ctx, m, session.ID)
	if err != nil {
		t.Error(err)
	}
	if want := (ledger.Report{Acknowledged: 1, Present: 1, Unknown: 1, Refused: 1}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := "1 acknowledged, 1 present, 0 duplicated; 1 unknown, of which 0 arrived; 1 refused"; got.String() != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := entries.Check(ctx, m, "session_0000000000000000"); !errors.Is(err, store.ErrSessionNotFound) {
		t.Errorf("of an unknown session: %v", err)
	}
}

// unreachable returns the error of a manager that cannot connect.
func unreachable(t *testing.T) error {
	t.Helper()
	ctx, m := storetest.Open(t, store.Config{URL: "postgres://nobody@/nowhere?host=" + t.TempDir(), MinConnections: -1})
	_, err := m.AddMessage(ctx, "session_0000000000000000", store.NewMessage{Sender: "tester", Content: "refused"})
	return err
}
