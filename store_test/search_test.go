package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// bruteForce is the rule of the search, written a second time: of messages, the newest first, those with at least the
// threshold as score, the best first.
func bruteForce(messages []store.Message, query string, threshold float64, limit int, withMetadata bool) []store.SearchResult {
	scorer := fuzzy.NewScorer(lowered(query))
	type scored struct {
		message store.Message
		score   float64
	}
	var found []scored
	for _, message := range messages {
		text := message.Sender + " " + message.Content
		var values map[string]any
		if withMetadata && message.Metadata != nil {
			if err := json.Unmarshal(message.Metadata, &values); err != nil {
				panic(err)
			}
		}
		keys := make([]string, 0, len(values))
		for key := range values {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b string) int { // as the database orders them
			if len(a) != len(b) {
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
		for _, key := range keys {
			switch value := values[key].(type) {
			case string:
				if value != "" {
					text += " " + value
				}
			case float64:
				if value != 0 {
					text += " " + fmt.Sprint(value)
				}
			case bool:
				if value {
					text += " true"
				}
			}
		}
		if score := scorer.PartialRatio([]byte(lowered(text)), 0); score >= threshold {
			found = append(found, scored{message, score})
		}
	}
	slices.SortStableFunc(found, func(a, b scored) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	results := make([]store.SearchResult, 0, limit)
	for _, f := range found[:min(limit, len(found))] {
		result := store.SearchResult{Message: f.message, Score: math.Round(f.score*100) / 100, Preview: f.message.Content, Relevance: "low"}
		if runes := []rune(f.message.Content); len(runes) > 150 {
			result.Preview = string(runes[:150]) + "..."
		}
		switch {
		case f.score >= 80:
			result.Relevance = "high"
		case f.score >= 60:
			result.Relevance = "medium"
		}
		results = append(results, result)
	}
	return results
}

// lowered is the rule of lower case: a letter beyond ASCII stays beyond it.
func lowered(text string) string {
	return strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < 128 || l >= 128 {
			return l
		}
		return r
	}, text)
}

// newestFirst returns messages in the order of the search.
func newestFirst(messages []store.Message) []store.Message {
	messages = slices.Clone(messages)
	slices.Reverse(messages)
	return messages
}

func TestSearchContext(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	long := strings.Repeat("é", 149) + "ab"
	added := f.add(ctx, t,
		store.NewMessage{Sender: "alice", Content: "The authentication middleware drops expired tokens"},
		store.NewMessage{Sender: "bob", Content: "AUTHENTICATION of services", Metadata: map[string]any{"topic": "Middleware", "count": 12, "open": true, "shut": false}},
		store.NewMessage{Sender: "bob", Content: "authentication notes", Visibility: store.VisibilityPrivate},
		store.NewMessage{Sender: "carol", Content: "lunch at noon"},
		store.NewMessage{Sender: "carol", Content: long},
		store.NewMessage{Sender: "root", SenderType: "admin", Content: "authentication secrets", Visibility: store.VisibilityAdminOnly, Admin: true},
	)
	newest := newestFirst(added)
	bob := store.Reader{AgentID: "bob"}
	for _, test := range []struct {
		name   string
		params store.SearchContextParams
		want   []store.SearchResult
	}{
		{"typing errors", store.SearchContextParams{Reader: alice, Query: "athentication"}, bruteForce(visible(newest, alice, ""), "athentication", 60, 10, true)},
		{"upper case", store.SearchContextParams{Reader: alice, Query: " AUTHENTICATION\x00 "}, bruteForce(visible(newest, alice, ""), "authentication", 60, 10, true)},
		{"metadata", store.SearchContextParams{Reader: alice, Query: "middleware"}, bruteForce(visible(newest, alice, ""), "middleware", 60, 10, true)},
		{"without metadata", store.SearchContextParams{Reader: alice, Query: "middleware", WithoutMetadata: true}, bruteForce(visible(newest, alice, ""), "middleware", 60, 10, false)},
		{"sender", store.SearchContextParams{Reader: alice, Query: "carol", Threshold: ptr(100.0)}, bruteForce(visible(newest, alice, ""), "carol", 100, 10, true)},
		{"own", store.SearchContextParams{Reader: bob, Query: "authentication"}, bruteForce(visible(newest, bob, ""), "authentication", 60, 10, true)},
		{"public", store.SearchContextParams{Reader: bob, Query: "authentication", Scope: store.SearchScopePublic}, bruteForce(visible(newest, bob, store.VisibilityPublic), "authentication", 60, 10, true)},
		{"private", store.SearchContextParams{Reader: bob, Query: "authentication", Scope: store.SearchScopePrivate}, bruteForce(visible(newest, bob, store.VisibilityPrivate), "authentication", 60, 10, true)},
		{"admin", store.SearchContextParams{Reader: admin, Query: "authentication", Scope: store.SearchScopeAll}, bruteForce(newest, "authentication", 60, 10, true)},
		{"limit", store.SearchContextParams{Reader: admin, Query: "authentication", Limit: 2}, bruteForce(newest, "authentication", 60, 2, true)},
		{"everything", store.SearchContextParams{Reader: admin, Query: "zzz", Threshold: ptr(0.0)}, bruteForce(newest, "zzz", 0, 10, true)},
		{"nothing", store.SearchContextParams{Reader: admin, Query: "zzzzzz"}, []store.SearchResult{}},
		{"whole history", store.SearchContextParams{Reader: admin, Query: "athentication", Window: store.SearchWindowAll}, bruteForce(newest, "athentication", 60, 10, true)},
		{"long query", store.SearchContextParams{Reader: admin, Query: strings.Repeat("lunch at noon ", 10)}, bruteForce(newest, strings.TrimSpace(strings.Repeat("lunch at noon ", 10)), 60, 10, true)},
	} {
		test.params.SessionID = f.session.ID
		got, err := f.SearchContext(ctx, test.params)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, got.Results, jsonValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if got.Indexed {
			t.Errorf("%s: an index was used that is not there", test.name)
		}
	}

	// What the model and the store could get wrong in the same way, said once by hand.
	got, err := f.SearchContext(ctx, store.SearchContextParams{SessionID: f.session.ID, Reader: bob, Query: "authentication"})
	if err != nil {
		t.Fatal(err)
	}
	want := []store.SearchResult{
		{Message: added[2], Score: 100, Preview: "authentication notes", Relevance: "high"},
		{Message: added[1], Score: 100, Preview: "AUTHENTICATION of services", Relevance: "high"},
		{Message: added[0], Score: 100, Preview: "The authentication middleware drops expired tokens", Relevance: "high"},
	}
	if diff := cmp.Diff(want, got.Results, jsonValue); diff != "" {
		t.Errorf("results for bob (-want +got):\n%s", diff)
	}
	if got.Scored != 5 {
		t.Errorf("%d messages were compared, bob sees 5", got.Scored)
	}
	got, err = f.SearchContext(ctx, store.SearchContextParams{SessionID: f.session.ID, Reader: bob, Query: "éééé"})
	if err != nil || len(got.Results) != 1 || got.Results[0].Preview != strings.Repeat("é", 149)+"a..." {
		t.Errorf("a long message gives %+v, %v", got, err)
	}
}

// The recent window is that of the first generation: 1000 visible messages of 7 days.
func TestSearchContextWindow(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	now := time.Date(2025, 6, 8, 12, 0, 0, 0, time.UTC)
	messages := []store.NewMessage{
		{Sender: "bob", Content: "needle too old", Timestamp: now.AddDate(0, 0, -7).Add(-time.Microsecond)},
		{Sender: "bob", Content: "needle just in time", Timestamp: now.AddDate(0, 0, -7)},
	}
	f.add(ctx, t, messages...)
	search := func(window store.SearchWindow) []string {
		t.Helper()
		got, err := f.SearchContext(ctx, store.SearchContextParams{
			SessionID: f.session.ID, Reader: alice, Query: "needle", Now: &now, Window: window, Threshold: ptr(100.0), Limit: 100,
		})
		if err != nil {
			t.Fatal(err)
		}
		found := []string{}
		for _, result := range got.Results {
			found = append(found, result.Message.Content)
		}
		return found
	}
	if diff := cmp.Diff([]string{"needle just in time"}, search("")); diff != "" {
		t.Errorf("within 7 days (-want +got):\n%s", diff)
	}
	filler := make([]store.NewMessage, 1000)
	for i := range filler {
		filler[i] = store.NewMessage{Sender: "bob", Content: "hay", Timestamp: now.Add(-time.Duration(i) * time.Second)}
	}
	f.add(ctx, t, filler[:999]...)
	// Messages that the reader may not see do not count.
	f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "needle in secret", Visibility: store.VisibilityPrivate, Timestamp: now})
	if diff := cmp.Diff([]string{"needle just in time"}, search(store.SearchWindowRecent)); diff != "" {
		t.Errorf("the 1000th message (-want +got):\n%s", diff)
	}
	f.add(ctx, t, filler[999])
	if diff := cmp.Diff([]string{}, search(store.SearchWindowRecent)); diff != "" {
		t.Errorf("the 1001st message (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"needle just in time", "needle too old"}, search(store.SearchWindowAll)); diff != "" {
		t.Errorf("the whole history (-want +got):\n%s", diff)
	}
}

func TestSearchContextInput(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for field, change := range map[string]func(*store.SearchContextParams){
		"session_id": func(p *store.SearchContextParams) { p.SessionID = "x" },
		"agent_id":   func(p *store.SearchContextParams) { p.Reader.AgentID = "" },
		"agent_type": func(p *store.SearchContextParams) { p.Reader.AgentType = strings.Repeat("x", 51) },
		"query":      func(p *store.SearchContextParams) { p.Query = " \x00" },
		"limit":      func(p *store.SearchContextParams) { p.Limit = 101 },
		"threshold":  func(p *store.SearchContextParams) { p.Threshold = ptr(100.01) },
		"scope":      func(p *store.SearchContextParams) { p.Scope = "admin_only" },
		"window":     func(p *store.SearchContextParams) { p.Window = "today" },
		"now":        func(p *store.SearchContextParams) { p.Now = ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) },
	} {
		params := store.SearchContextParams{SessionID: f.session.ID, Reader: alice, Query: "x"}
		change(&params)
		_, err := f.SearchContext(ctx, params)
		wantInvalid(t, err, field)
	}
	for _, threshold := range []float64{-1, math.NaN(), math.Inf(1)} {
		_, err := f.SearchContext(ctx, store.SearchContextParams{SessionID: f.session.ID, Reader: alice, Query: "x", Threshold: &threshold})
		wantInvalid(t, err, "threshold")
	}
	if events := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'context_searched'"); events != 0 {
		t.Errorf("%d audit rows of searches that were refused", events)
	}
	for _, window := range []store.SearchWindow{store.SearchWindowRecent, store.SearchWindowAll} {
		_, err := f.SearchContext(ctx, store.SearchContextParams{SessionID: unknownSession, Reader: alice, Query: "x", Window: window})
		wantError(t, err, store.ErrSessionNotFound)
		got, err := f.SearchContext(ctx, store.SearchContextParams{SessionID: f.session.ID, Reader: alice, Query: "x", Window: window})
		if err != nil || got.Results == nil || len(got.Results) > 0 {
			t.Errorf("in an empty session: %+v, %v", got, err)
		}
	}
	events, err := f.ListAudit(ctx, store.ListAuditParams{Reader: alice, AgentID: "alice", EventType: "context_searched"})
	if err != nil || len(events.Events) != 2 {
		t.Fatalf("audit rows: %+v, %v", events, err)
	}
	want := json.RawMessage(`{"query": "x", "scope": "all", "window": "all", "threshold": 60}`)
	if diff := cmp.Diff(want, events.Events[0].Metadata, jsonValue); diff != "" || events.Events[0].SessionID != f.session.ID {
		t.Errorf("audit row %+v (-want +got):\n%s", events.Events[0], diff)
	}
}

// Every hostile text can be searched for, in every way, and finds itself.
func TestSearchHostileTexts(t *testing.T) {
	t.Parallel()
	ctx, f, _ := indexed(t, nil)
	for _, text := range hostileTexts {
		content, ok := cleaned(text, store.MaxSearchQueryLength)
		if ok {
			f.add(ctx, t, store.NewMessage{Sender: "bob", Content: content, Timestamp: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)})
		}
		for _, window := range []store.SearchWindow{store.SearchWindowRecent, store.SearchWindowAll} {
			got, err := f.SearchContext(ctx, store.SearchContextParams{SessionID: f.session.ID, Reader: alice, Query: text, Window: window, Limit: 100})
			if !ok {
				wantInvalid(t, err, "query")
				continue
			}
			if err != nil {
				t.Fatalf("search for %q: %v", text, err)
			}
			found := slices.ContainsFunc(got.Results, func(r store.SearchResult) bool { return r.Message.Content == content && r.Score == 100 })
			if window == store.SearchWindowAll && !found {
				t.Errorf("%q does not find itself", text)
			}
		}
	}
}

// Whatever stands in a session, the search gives what brute force gives, to each reader.
func TestSearchMatchesBruteForce(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	text := rapid.StringOfN(rapid.RuneFrom([]rune("abcé ")), 1, 30, -1)
	rapid.Check(t, func(rt *rapid.T) {
		session := newSession(ctx, t, f.Manager)
		written := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) store.NewMessage {
			return store.NewMessage{
				Sender: agents.Draw(rt, "sender"), SenderType: agentTypes.Draw(rt, "sender type"), Admin: true,
				Visibility: rapid.SampledFrom(levels).Draw(rt, "visibility"), Content: "x" + text.Draw(rt, "content"),
				Metadata: rapid.SampledFrom([]any{nil, map[string]any{"a": "ab c", "n": 12.5, "no": 0, "yes": true}}).Draw(rt, "metadata"),
			}
		}), 1, 12).Draw(rt, "messages")
		messages, err := f.AddMessages(ctx, session.ID, written)
		if err != nil {
			rt.Fatal(err)
		}
		reader := store.Reader{AgentID: agents.Draw(rt, "reader"), AgentType: agentTypes.Draw(rt, "type"), Admin: rapid.Bool().Draw(rt, "admin")}
		params := store.SearchContextParams{
			SessionID: session.ID, Reader: reader, Query: "a" + strings.TrimSpace(text.Draw(rt, "query")), Limit: rapid.IntRange(1, 5).Draw(rt, "limit"),
			Threshold: ptr(float64(rapid.IntRange(0, 100).Draw(rt, "threshold"))), WithoutMetadata: rapid.Bool().Draw(rt, "without metadata"),
		}
		got, err := f.SearchContext(ctx, params)
		if err != nil {
			rt.Fatal(err)
		}
		want := bruteForce(visible(newestFirst(messages), reader, ""), params.Query, *params.Threshold, params.Limit, !params.WithoutMetadata)
		if diff := cmp.Diff(want, got.Results, jsonValue); diff != "" {
			rt.Fatalf("%+v (-want +got):\n%s", params, diff)
		}
	})
}

// indexed is a fixture with a search index over messages of its own, if there are any.
func indexed(t *testing.T, messages []store.NewMessage) (context.Context, fixture, []store.Message) {
	t.Helper()
	ctx, f, config := setupConfig(t)
	var added []store.Message
	for batch := range slices.Chunk(messages, 1000) {
		added = append(added, f.add(ctx, t, batch...)...)
	}
	buildSearchIndex(ctx, t, config)
	return ctx, f, added
}
