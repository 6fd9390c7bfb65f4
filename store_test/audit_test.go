package store_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// bob is an agent that reads its own events.
var bob = store.Reader{AgentID: "bob"}

// failer is what a test and a check of rapid have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// listAudit reads all pages of a list.
func (f fixture) listAudit(ctx context.Context, tb failer, params store.ListAuditParams) []store.AuditEvent {
	tb.Helper()
	var events []store.AuditEvent
	for {
		page, err := f.ListAudit(ctx, params)
		if err != nil {
			tb.Fatal(err)
		}
		if page.HasMore != (page.Next != nil) || page.HasMore && len(page.Events) != params.Limit {
			tb.Fatalf("a page of %d events has more: %t, next: %v", len(page.Events), page.HasMore, page.Next)
		}
		events = append(events, page.Events...)
		if !page.HasMore {
			return events
		}
		text, err := json.Marshal(page.Next) // the cursor survives as text
		if err != nil {
			tb.Fatal(err)
		}
		params.After = new(store.AuditCursor)
		if err := json.Unmarshal(text, params.After); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestAppendAudit(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	now := time.Date(2025, 8, 22, 23, 48, 35, 123456789, time.FixedZone("", 7200))
	event, err := f.AppendAudit(ctx, store.AppendAuditParams{
		EventType: " token_refreshed\x07 ", AgentID: "bob", SessionID: f.session.ID, Resource: "sct_1", Action: "refresh",
		Result: "success", Metadata: map[string]any{"n": 1}, Now: &now,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := store.AuditEvent{
		ID: event.ID, Timestamp: time.Date(2025, 8, 22, 21, 48, 35, 123456000, time.UTC), EventType: "token_refreshed", AgentID: "bob",
		SessionID: f.session.ID, Resource: "sct_1", Action: "refresh", Result: "success", Metadata: json.RawMessage(`{"n":1}`),
	}
	if diff := gocmp.Diff(want, event, jsonValue); diff != "" {
		t.Errorf("appended (-want +got):\n%s", diff)
	}
	least, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	got := f.listAudit(ctx, t, store.ListAuditParams{Reader: bob, AgentID: "bob"})
	if diff := gocmp.Diff([]store.AuditEvent{least, want}, got, jsonValue); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if n := count(ctx, t, `SELECT count(*) FROM audit_log WHERE id = ? AND session_id IS NULL AND resource IS NULL AND action IS NULL
		AND result IS NULL AND metadata IS NULL AND timestamp BETWEEN now() - interval '1 hour' AND now()`, least.ID); n != 1 {
		t.Error("what was not given is not NULL, or the time is not the database's")
	}
}

func TestAppendAuditRefuses(t *testing.T) { //nolint:tparallel // the count comes after all subtests
	t.Parallel()
	ctx, f := setup(t)
	before := count(ctx, t, "SELECT count(*) FROM audit_log")
	tests := []struct {
		name, field string
		change      func(*store.AppendAuditParams)
	}{
		{"no event type", "event_type", func(p *store.AppendAuditParams) { p.EventType = " \x00" }},
		{"event type of 101", "event_type", func(p *store.AppendAuditParams) { p.EventType = strings.Repeat("ж", 101) }},
		{"event type in no encoding", "event_type", func(p *store.AppendAuditParams) { p.EventType = invalidUTF8 }},
		{"no agent", "agent_id", func(p *store.AppendAuditParams) { p.AgentID = "" }},
		{"agent with a line break", "agent_id", func(p *store.AppendAuditParams) { p.AgentID = "bob\n" }},
		{"session", "session_id", func(p *store.AppendAuditParams) { p.SessionID = "session_1" }},
		{"resource of 256", "resource", func(p *store.AppendAuditParams) { p.Resource = strings.Repeat("ж", 256) }},
		{"action of 101", "action", func(p *store.AppendAuditParams) { p.Action = strings.Repeat("ж", 101) }},
		{"result of 101", "result", func(p *store.AppendAuditParams) { p.Result = strings.Repeat("ж", 101) }},
		{"metadata that is a list", "metadata", func(p *store.AppendAuditParams) { p.Metadata = []int{1} }},
		{"year 10000", "now", func(p *store.AppendAuditParams) { p.Now = ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }},
	}
	for _, test := range tests {
		params := store.AppendAuditParams{EventType: "x", AgentID: "bob"}
		test.change(&params)
		t.Run(test.name, func(t *testing.T) {
			_, err := f.AppendAudit(ctx, params)
			wantInvalid(t, err, test.field)
		})
	}
	_, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "bob", SessionID: unknownSession})
	wantError(t, err, store.ErrSessionNotFound)
	if after := count(ctx, t, "SELECT count(*) FROM audit_log"); after != before {
		t.Errorf("%d events were stored", after-before)
	}

	longest := store.AppendAuditParams{
		EventType: strings.Repeat("🦜", 100), AgentID: strings.Repeat("a", 100), Resource: strings.Repeat("🦜", 255),
		Action: strings.Repeat("🦜", 100), Result: strings.Repeat("🦜", 100),
	}
	if _, err := f.AppendAudit(ctx, longest); err != nil {
		t.Errorf("the longest event: %v", err)
	}
}

// An event of a transaction that rolls back is not there.
func TestAppendAuditInTransaction(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	err := f.InTx(ctx, func(ctx context.Context) error {
		_, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "bob", SessionID: unknownSession})
		wantError(t, err, store.ErrSessionNotFound) // and the transaction goes on
		if _, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "bob"}); err != nil {
			t.Fatal(err)
		}
		if events := f.listAudit(ctx, t, store.ListAuditParams{Reader: bob, AgentID: "bob"}); len(events) != 1 {
			t.Errorf("%d events are seen within, want 1", len(events))
		}
		return errFailed
	})
	wantError(t, err, errFailed)
	if events := f.listAudit(ctx, t, store.ListAuditParams{Reader: bob, AgentID: "bob"}); len(events) != 0 {
		t.Errorf("%d events are left", len(events))
	}
}

func TestListAuditRefuses(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	year10000 := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name, field string
		change      func(*store.ListAuditParams)
	}{
		{"reader", "agent_id", func(p *store.ListAuditParams) { p.Reader.AgentID = "" }},
		{"agent", "agent_id", func(p *store.ListAuditParams) { p.AgentID = "a b" }},
		{"session", "session_id", func(p *store.ListAuditParams) { p.SessionID = "x" }},
		{"event type of 101", "event_type", func(p *store.ListAuditParams) { p.EventType = strings.Repeat("x", 101) }},
		{"from", "from", func(p *store.ListAuditParams) { p.From = year10000 }},
		{"to", "to", func(p *store.ListAuditParams) { p.To = year10000 }},
		{"to before from", "to", func(p *store.ListAuditParams) { p.From, p.To = time.Unix(1, 0), time.Unix(0, 0) }},
		{"limit above 1000", "limit", func(p *store.ListAuditParams) { p.Limit = 1001 }},
		{"negative limit", "limit", func(p *store.ListAuditParams) { p.Limit = -1 }},
		{"cursor in the year 10000", "cursor", func(p *store.ListAuditParams) { p.After = &store.AuditCursor{Timestamp: year10000} }},
		{"cursor with a negative id", "cursor", func(p *store.ListAuditParams) { p.After = &store.AuditCursor{ID: -1} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			params := store.ListAuditParams{Reader: admin}
			test.change(&params)
			_, err := f.ListAudit(ctx, params)
			wantInvalid(t, err, test.field)
		})
	}
	for _, text := range []string{"", ".", "1", "x.1", "1.-1"} {
		wantInvalid(t, new(store.AuditCursor).UnmarshalText([]byte(text)), "cursor")
	}
}

func TestAuditPermission(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for _, agent := range []string{"alice", "bob"} {
		if _, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: agent, SessionID: f.session.ID}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		params store.ListAuditParams
		agents []string // of the events in the list, or nil for ErrPermission
	}{
		{"own", store.ListAuditParams{Reader: bob, AgentID: "bob"}, []string{"bob"}},
		{"own of a session", store.ListAuditParams{Reader: bob, AgentID: "bob", SessionID: f.session.ID}, []string{"bob"}},
		{"own of a type", store.ListAuditParams{Reader: bob, AgentID: "bob", EventType: "x"}, []string{"bob"}},
		{"all", store.ListAuditParams{Reader: bob}, nil},
		{"another's", store.ListAuditParams{Reader: bob, AgentID: "alice"}, nil},
		{"own in other letters", store.ListAuditParams{Reader: bob, AgentID: "Bob"}, nil},
		{"a session's", store.ListAuditParams{Reader: bob, SessionID: f.session.ID}, nil},
		{"a type's", store.ListAuditParams{Reader: bob, EventType: "x"}, nil},
		{"all, by an admin", store.ListAuditParams{Reader: admin, EventType: "x"}, []string{"bob", "alice"}},
		{"a session's, by an admin", store.ListAuditParams{Reader: admin, SessionID: f.session.ID, EventType: "x"}, []string{"bob", "alice"}},
		{"another's, by an admin", store.ListAuditParams{Reader: admin, AgentID: "bob"}, []string{"bob"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			page, err := f.ListAudit(ctx, test.params)
			if test.agents == nil {
				wantError(t, err, store.ErrPermission)
			} else if err != nil {
				t.Fatal(err)
			}
			var agents []string
			for _, event := range page.Events {
				agents = append(agents, event.AgentID)
			}
			if diff := gocmp.Diff(test.agents, agents); diff != "" {
				t.Errorf("agents (-want +got):\n%s", diff)
			}
		})
	}
	for _, agent := range []string{"", "alice"} {
		_, err := f.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: bob, AgentID: agent})
		wantError(t, err, store.ErrPermission)
	}
}

// Whatever is filtered for and however large the pages are, the list is what sorting and filtering all events gives.
func TestListAuditModel(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, manager := storetest.New(t)
	f := fixture{Manager: manager}
	sessions := []string{newSession(ctx, t, manager).ID, newSession(ctx, t, manager).ID}
	if _, err := store.ExecuteUpdate(ctx, "DELETE FROM audit_log"); err != nil {
		t.Fatal(err)
	}
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Microsecond) }
	agents, types := []string{"a", "b", "c"}, []string{"x", "y", "z"}
	var all []store.AuditEvent
	for i := range 120 { // several of each instant
		params := store.AppendAuditParams{
			AgentID: agents[i%3], EventType: types[i/3%3], Resource: fmt.Sprint(i), Now: ptr(at((i * 7) % 11)),
		}
		if s := i % 5; s < 2 {
			params.SessionID = sessions[s]
		}
		event, err := f.AppendAudit(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, event)
	}
	slices.SortFunc(all, func(a, b store.AuditEvent) int {
		return cmp.Or(b.Timestamp.Compare(a.Timestamp), cmp.Compare(b.ID, a.ID))
	})

	rapid.Check(t, func(t *rapid.T) {
		params := store.ListAuditParams{
			Reader:    admin,
			AgentID:   rapid.SampledFrom(append([]string{"", "nobody"}, agents...)).Draw(t, "agent"),
			SessionID: rapid.SampledFrom(append([]string{"", unknownSession}, sessions...)).Draw(t, "session"),
			EventType: rapid.SampledFrom(append([]string{"", "other"}, types...)).Draw(t, "type"),
			Limit:     rapid.SampledFrom([]int{1, 2, 7, 1000}).Draw(t, "limit"),
		}
		from, to := -1, 12
		if rapid.Bool().Draw(t, "bounded below") {
			from = rapid.IntRange(0, 11).Draw(t, "from")
			params.From = at(from)
		}
		if rapid.Bool().Draw(t, "bounded above") {
			to = rapid.IntRange(max(from, 0), 11).Draw(t, "to")
			params.To = at(to)
		}
		var want []store.AuditEvent
		for _, event := range all {
			if (params.AgentID == "" || event.AgentID == params.AgentID) && (params.SessionID == "" || event.SessionID == params.SessionID) &&
				(params.EventType == "" || event.EventType == params.EventType) && !event.Timestamp.Before(at(from)) && event.Timestamp.Before(at(to)) {
				want = append(want, event)
			}
		}
		if diff := gocmp.Diff(want, f.listAudit(ctx, t, params)); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}
	})
}

func TestSummarizeAudit(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, f := setup(t)
	if _, err := store.ExecuteUpdate(ctx, "DELETE FROM audit_log"); err != nil {
		t.Fatal(err)
	}
	first := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	var want []store.AuditActivity
	for _, agent := range []string{"alice", "bob", "carol"} {
		for i, eventType := range []string{"x", "y"} {
			for n := range i + 2 {
				_, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: eventType, AgentID: agent, Now: ptr(first.Add(time.Duration(n) * time.Hour))})
				if err != nil {
					t.Fatal(err)
				}
			}
			want = append(want, store.AuditActivity{
				AgentID: agent, EventType: eventType, EventCount: int64(i + 2), FirstEvent: first, LastEvent: first.Add(time.Duration(i+1) * time.Hour),
			})
		}
	}
	tests := []struct {
		name   string
		params store.SummarizeAuditParams
		want   []store.AuditActivity
	}{
		{"all", store.SummarizeAuditParams{Reader: admin}, want},
		{"an agent's", store.SummarizeAuditParams{Reader: admin, AgentID: "carol"}, want[4:]},
		{"own", store.SummarizeAuditParams{Reader: bob, AgentID: "bob"}, want[2:4]},
		{"nobody's", store.SummarizeAuditParams{Reader: admin, AgentID: "nobody"}, nil},
	}
	for _, test := range tests {
		for _, limit := range []int{0, 1, 2, 5, 6} {
			params := test.params
			params.Limit = limit
			var got []store.AuditActivity
			for more := true; more; {
				page, err := f.SummarizeAudit(ctx, params)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page.Activities...)
				more, params.After = page.HasMore, page.Next
			}
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s in pages of %d (-want +got):\n%s", test.name, limit, diff)
			}
		}
	}
	for field, params := range map[string]store.SummarizeAuditParams{
		"agent_id": {}, "limit": {Reader: admin, Limit: 1001}, "after": {Reader: admin, After: &store.AuditActivityCursor{AgentID: invalidUTF8}},
	} {
		_, err := f.SummarizeAudit(ctx, params)
		wantInvalid(t, err, field)
	}
	_, err := f.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: admin, AgentID: "a b"})
	wantInvalid(t, err, "agent_id")
}
