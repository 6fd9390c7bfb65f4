package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// listMemory reads all pages of a list of memory.
func listMemory(ctx context.Context, m *store.Manager, params store.ListMemoryParams) ([]store.MemoryInfo, error) {
	entries := []store.MemoryInfo{}
	for {
		page, err := m.ListMemory(ctx, params)
		if err != nil {
			return nil, err
		}
		entries = append(entries, page.Entries...)
		if page.HasMore != (page.Next != nil) || page.HasMore && len(page.Entries) != params.Limit {
			return nil, fmt.Errorf("a page of %d of %d with has more %t and next %v", len(page.Entries), params.Limit, page.HasMore, page.Next)
		}
		if !page.HasMore {
			return entries, nil
		}
		if len(entries) > 1000 { // more than any test has
			return nil, errors.New("the pages have no end")
		}
		params.After = page.Next
	}
}

func keys(entries []store.MemoryInfo) []string {
	keys := make([]string, len(entries))
	for i, entry := range entries {
		keys[i] = entry.Key
	}
	return keys
}

func TestListMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	sessions := []string{f.session.ID, newSession(ctx, t, f.Manager).ID}
	slices.Sort(sessions)
	want := map[store.MemoryScope][]store.MemoryInfo{}
	for _, sessionID := range append([]string{""}, sessions...) {
		for i := range 7 {
			params := store.SetMemoryParams{SessionID: sessionID, Key: fmt.Sprint("key", i), Value: strings.Repeat("ж", i+1), Metadata: `{"a":1}`, Now: &noon}
			if i%2 == 0 {
				params.TTL = time.Hour
			}
			entry := f.set(ctx, t, params)
			info := store.MemoryInfo{
				AgentID: "alice", SessionID: sessionID, Key: entry.Key, Size: i + 1,
				CreatedAt: noon, UpdatedAt: noon, ExpiresAt: entry.ExpiresAt,
			}
			want[store.MemoryScopeAll] = append(want[store.MemoryScopeAll], info)
			switch sessionID {
			case "":
				want[store.MemoryScopeGlobal] = append(want[store.MemoryScopeGlobal], info)
			case f.session.ID:
				want[store.MemoryScopeSession] = append(want[store.MemoryScopeSession], info)
			}
		}
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "expired", Value: "v", TTL: time.Microsecond, Now: &noon})
		f.set(ctx, t, store.SetMemoryParams{AgentID: "bob", SessionID: sessionID, Key: "key0", Value: "not alice's", Now: &noon})
	}
	want[""] = want[store.MemoryScopeAll]
	now := noon.Add(time.Minute)
	for scope, want := range want {
		for _, limit := range []int{1, 2, 6, 7, 8, 20, 21, 200} {
			params := store.ListMemoryParams{AgentID: "alice", Scope: scope, Limit: limit, Now: &now}
			if scope == store.MemoryScopeSession {
				params.SessionID = f.session.ID
			}
			got, err := listMemory(ctx, f.Manager, params)
			if diff := gocmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("scope %q in pages of %d: %v (-want +got):\n%s", scope, limit, err, diff)
			}
		}
	}

	// On the database's clock those with a time to live have expired.
	page, err := f.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", Scope: store.MemoryScopeGlobal})
	if diff := gocmp.Diff([]string{"key1", "key3", "key5"}, keys(page.Entries)); diff != "" || err != nil {
		t.Errorf("on the database's clock: %v (-want +got):\n%s", err, diff)
	}
	page, err = f.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", Scope: store.MemoryScopeSession, SessionID: unknownSession})
	if err != nil || page.Entries == nil || len(page.Entries) != 0 || page.HasMore {
		t.Errorf("an unknown session gives %+v, %v", page, err)
	}
}

func TestListMemoryDefaultLimit(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for i := range 51 {
		f.set(ctx, t, store.SetMemoryParams{Key: fmt.Sprint(i), Value: "v"})
	}
	page, err := f.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice"})
	if err != nil || len(page.Entries) != 50 || !page.HasMore {
		t.Errorf("%d entries, has more %t, %v", len(page.Entries), page.HasMore, err)
	}
	all, err := f.ListAllMemory(ctx, store.ListAllMemoryParams{Reader: admin})
	if err != nil || len(all.Entries) != 50 || !all.HasMore {
		t.Errorf("%d entries of all, has more %t, %v", len(all.Entries), all.HasMore, err)
	}
}

// A prefix has no wildcards, and is a prefix by characters, not by what a collation holds for equal.
func TestListMemoryPrefix(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	all := []string{"a%b", "a_b", `a\b`, "axb", "A%b", "a", "ab", "é", "e\u0301x", "%", "_", `\`, `\%`, "🦜1", "🦜", "'", "$1"}
	for _, sessionID := range f.scopes() {
		for _, key := range all {
			f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: key, Value: "v"})
		}
	}
	for _, prefix := range append(slices.Clone(all), "", "a%", "a_", `a\`, "e", "%%", "nothing", " a\x07 ", strings.Repeat("a", 255)) {
		var want []string
		for _, key := range all {
			if strings.HasPrefix(key, strings.TrimSpace(strings.ReplaceAll(prefix, "\x07", ""))) {
				want = append(want, key)
			}
		}
		for scope, sessionID := range f.scopes() {
			got, err := listMemory(ctx, f.Manager, store.ListMemoryParams{
				AgentID: "alice", Scope: store.MemoryScope(scope), SessionID: sessionID, Prefix: prefix, Limit: 3,
			})
			if diff := gocmp.Diff(sorted(want), sorted(keys(got))); diff != "" || err != nil {
				t.Errorf("%s with prefix %q: %v (-want +got):\n%s", scope, prefix, err, diff)
			}
		}
		got, err := listMemory(ctx, f.Manager, store.ListMemoryParams{AgentID: "alice", Prefix: prefix, Limit: 3})
		if diff := gocmp.Diff(sorted(append(want, want...)), sorted(keys(got))); diff != "" || err != nil {
			t.Errorf("all with prefix %q: %v (-want +got):\n%s", prefix, err, diff)
		}
	}
}

func sorted(texts []string) []string {
	texts = append([]string{}, texts...)
	slices.Sort(texts)
	return texts
}

func TestListMemoryRefuses(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	tests := []struct {
		name, field string
		change      func(*store.ListMemoryParams)
	}{
		{"no agent", "agent_id", func(p *store.ListMemoryParams) { p.AgentID = "" }},
		{"unknown scope", "scope", func(p *store.ListMemoryParams) { p.Scope = "Global" }},
		{"no session", "session_id", func(p *store.ListMemoryParams) { p.Scope = store.MemoryScopeSession }},
		{"session", "session_id", func(p *store.ListMemoryParams) { p.Scope, p.SessionID = store.MemoryScopeSession, "x" }},
		{"session without its scope", "session_id", func(p *store.ListMemoryParams) { p.SessionID = f.session.ID }},
		{"session with global", "session_id", func(p *store.ListMemoryParams) { p.Scope, p.SessionID = store.MemoryScopeGlobal, f.session.ID }},
		{"blank prefix", "prefix", func(p *store.ListMemoryParams) { p.Prefix = " " }},
		{"prefix with a space", "prefix", func(p *store.ListMemoryParams) { p.Prefix = "a b" }},
		{"prefix of 256", "prefix", func(p *store.ListMemoryParams) { p.Prefix = strings.Repeat("a", 256) }},
		{"prefix of invalid UTF-8", "prefix", func(p *store.ListMemoryParams) { p.Prefix = invalidUTF8 }},
		{"limit above 200", "limit", func(p *store.ListMemoryParams) { p.Limit = 201 }},
		{"negative limit", "limit", func(p *store.ListMemoryParams) { p.Limit = -1 }},
		{"cursor with NUL", "after", func(p *store.ListMemoryParams) { p.After = &store.MemoryCursor{Key: "\x00"} }},
		{"cursor of invalid UTF-8", "after", func(p *store.ListMemoryParams) { p.After = &store.MemoryCursor{SessionID: invalidUTF8} }},
		{"year 10000", "now", func(p *store.ListMemoryParams) { p.Now = ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			params := store.ListMemoryParams{AgentID: "alice"}
			test.change(&params)
			_, err := f.ListMemory(ctx, params)
			wantInvalid(t, err, test.field)
		})
	}
}

// An entry that lives throughout is in exactly one page, although it is set again while the pages are read.
func TestListMemoryWhileItChanges(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	var want []string
	for i := range 9 {
		want = append(want, fmt.Sprint("key", i))
		f.set(ctx, t, store.SetMemoryParams{Key: want[i], Value: "v"})
	}
	var got []string
	params := store.ListMemoryParams{AgentID: "alice", Limit: 2}
	for more := true; more; {
		page, err := f.ListMemory(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, keys(page.Entries)...)
		f.set(ctx, t, store.SetMemoryParams{Key: "key0", Value: "w"})
		f.set(ctx, t, store.SetMemoryParams{Key: "key8", Value: "w"})
		more, params.After = page.HasMore, page.Next
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestListAllMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	var want []store.MemoryInfo
	for i := range 12 { // three of each instant, of which those set later come first
		params := store.SetMemoryParams{AgentID: fmt.Sprint("agent_", i%4), Key: fmt.Sprint(i), Value: strings.Repeat("🦜", i+1)}
		params.Now = ptr(noon.Add(time.Duration(i/3) * time.Second))
		if i%2 == 0 {
			params.SessionID, params.TTL = f.session.ID, time.Hour
		}
		entry := f.set(ctx, t, params)
		want = append(want, store.MemoryInfo{
			AgentID: entry.AgentID, SessionID: entry.SessionID, Key: entry.Key, Size: i + 1,
			CreatedAt: entry.CreatedAt, UpdatedAt: entry.UpdatedAt, ExpiresAt: entry.ExpiresAt,
		})
	}
	slices.Reverse(want)
	f.set(ctx, t, store.SetMemoryParams{Key: "expired", Value: "v", TTL: time.Minute, Now: &noon})
	now := noon.Add(time.Minute)
	for _, limit := range []int{1, 2, 5, 11, 12, 13, 200} {
		got := []store.MemoryInfo{}
		params := store.ListAllMemoryParams{Reader: admin, Limit: limit, Now: &now}
		for more := true; more; {
			page, err := f.ListAllMemory(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			if page.HasMore != (page.Next != nil) || len(page.Entries) > limit {
				t.Errorf("a page of %d with has more %t and next %v", len(page.Entries), page.HasMore, page.Next)
			}
			got = append(got, page.Entries...)
			more, params.After = page.HasMore, page.Next
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	counts, err := f.CountMemory(ctx, store.CountMemoryParams{Reader: admin, Now: &now})
	if diff := gocmp.Diff(store.MemoryCounts{Total: 12, Global: 6, Session: 6, Expiring: 6, Agents: 4}, counts); diff != "" || err != nil {
		t.Errorf("counts: %v (-want +got):\n%s", err, diff)
	}
	counts, err = f.CountMemory(ctx, store.CountMemoryParams{Reader: admin})
	if diff := gocmp.Diff(store.MemoryCounts{Total: 6, Global: 6, Agents: 2}, counts); diff != "" || err != nil {
		t.Errorf("counts on the database's clock: %v (-want +got):\n%s", err, diff)
	}
}

// The lists and counts of all agents are for admins.
func TestAllMemoryRefuses(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	far := ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, now := range []*time.Time{nil, far} { // who may not ask learns no more than that
		_, err := f.ListAllMemory(ctx, store.ListAllMemoryParams{Reader: alice, Now: now})
		wantError(t, err, store.ErrPermission)
		_, err = f.CountMemory(ctx, store.CountMemoryParams{Reader: alice, Now: now})
		wantError(t, err, store.ErrPermission)
	}
	for field, params := range map[string]store.ListAllMemoryParams{
		"agent_id":   {Reader: store.Reader{Admin: true}},
		"agent_type": {Reader: store.Reader{AgentID: "root", Admin: true, AgentType: strings.Repeat("a", 51)}},
		"limit":      {Reader: admin, Limit: 201},
		"after":      {Reader: admin, After: &store.MemoryUpdateCursor{UpdatedAt: *far}},
		"now":        {Reader: admin, Now: far},
	} {
		_, err := f.ListAllMemory(ctx, params)
		wantInvalid(t, err, field)
		if field == "limit" || field == "after" {
			continue
		}
		_, err = f.CountMemory(ctx, store.CountMemoryParams{Reader: params.Reader, Now: params.Now})
		wantInvalid(t, err, field)
	}
}

// memoryPlace names an entry in the model of memory.
type memoryPlace struct{ agent, session, key string }

// memoryModel is memory as a map, and the time.
type memoryModel struct {
	entries map[memoryPlace]store.MemoryEntry
	now     time.Time
}

// live returns the entry of a place unless it has expired.
func (m *memoryModel) live(place memoryPlace) (store.MemoryEntry, bool) {
	entry, ok := m.entries[place]
	return entry, ok && (entry.ExpiresAt == nil || entry.ExpiresAt.After(m.now))
}

// Whatever is set, read and deleted in whatever order while time goes on, memory is a map whose entries expire.
func TestMemoryIsAMap(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	sessions := []string{"", f.session.ID, newSession(ctx, t, f.Manager).ID}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		model := memoryModel{entries: make(map[memoryPlace]store.MemoryEntry), now: noon}
		places := rapid.Custom(func(rt *rapid.T) memoryPlace {
			return memoryPlace{
				agent:   fmt.Sprintf("%s_%d", agents.Draw(rt, "agent"), run),
				session: rapid.SampledFrom(sessions).Draw(rt, "session"),
				key:     rapid.SampledFrom([]string{"a", "ab", "b"}).Draw(rt, "key"),
			}
		})
		rt.Repeat(map[string]func(*rapid.T){
			"time": func(rt *rapid.T) {
				model.now = model.now.Add(time.Duration(rapid.IntRange(1, 3).Draw(rt, "seconds")) * time.Second)
			},
			"set": func(rt *rapid.T) { model.set(ctx, rt, f.Manager, places.Draw(rt, "place")) },
			"get": func(rt *rapid.T) {
				place := places.Draw(rt, "place")
				want, ok := model.live(place)
				got, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: place.agent, SessionID: place.session, Key: place.key, Now: &model.now})
				if err = ignore(err, store.ErrMemoryNotFound); err != nil || !ok {
					want = store.MemoryEntry{}
				}
				if diff := gocmp.Diff(want, got); diff != "" || err != nil {
					rt.Fatalf("get %v at %v: %v (-want +got):\n%s", place, model.now, err, diff)
				}
			},
			"delete": func(rt *rapid.T) {
				place := places.Draw(rt, "place")
				var want error
				if _, ok := model.live(place); !ok {
					want = store.ErrMemoryNotFound
				}
				err := f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: place.agent, SessionID: place.session, Key: place.key, Now: &model.now})
				if ignore(err, want) != nil || (err == nil) != (want == nil) {
					rt.Fatalf("delete %v: %v, want %v", place, err, want)
				}
				delete(model.entries, place)
			},
			"list": func(rt *rapid.T) { model.list(ctx, rt, f.Manager, places.Draw(rt, "place")) },
		})
	})
}

func (m *memoryModel) set(ctx context.Context, rt *rapid.T, manager *store.Manager, place memoryPlace) {
	params := store.SetMemoryParams{
		AgentID: place.agent, SessionID: place.session, Key: place.key, Now: &m.now,
		Value:        rapid.StringMatching(`[a-zж ]{0,3}x`).Draw(rt, "value"),
		TTL:          time.Duration(rapid.IntRange(0, 4).Draw(rt, "ttl")) * time.Second,
		KeepExisting: rapid.Bool().Draw(rt, "keep existing"),
	}
	old, exists := m.live(place)
	got, err := manager.SetMemory(ctx, params)
	if exists && params.KeepExisting {
		if !errors.Is(err, store.ErrMemoryKeyExists) {
			rt.Fatalf("set %v at %v: %v, want that it exists", place, m.now, err)
		}
		return
	}
	want := store.MemoryEntry{
		AgentID: place.agent, SessionID: place.session, Key: place.key, Value: params.Value, CreatedAt: m.now, UpdatedAt: got.UpdatedAt,
	}
	if exists {
		want.CreatedAt = old.CreatedAt
	}
	if params.TTL > 0 {
		want.ExpiresAt = ptr(m.now.Add(params.TTL))
	}
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		rt.Fatalf("set %v at %v: %v (-want +got):\n%s", place, m.now, err, diff)
	}
	m.entries[place] = got
}

// list compares the lists of the agent and of the session of a place with the model.
func (m *memoryModel) list(ctx context.Context, rt *rapid.T, manager *store.Manager, place memoryPlace) {
	params := store.ListMemoryParams{
		AgentID: place.agent, Now: &m.now, Limit: rapid.IntRange(1, 4).Draw(rt, "limit"),
		Prefix: rapid.SampledFrom([]string{"", "a", "ab", "c"}).Draw(rt, "prefix"),
		Scope:  rapid.SampledFrom([]store.MemoryScope{store.MemoryScopeAll, store.MemoryScopeGlobal, store.MemoryScopeSession}).Draw(rt, "scope"),
	}
	switch {
	case params.Scope == store.MemoryScopeSession && place.session == "":
		params.Scope = store.MemoryScopeGlobal
	case params.Scope == store.MemoryScopeSession:
		params.SessionID = place.session
	}
	want := []store.MemoryInfo{}
	for other := range m.entries {
		entry, ok := m.live(other)
		if !ok || other.agent != place.agent || !strings.HasPrefix(other.key, params.Prefix) ||
			params.Scope != store.MemoryScopeAll && other.session != params.SessionID {
			continue
		}
		want = append(want, store.MemoryInfo{
			AgentID: other.agent, SessionID: other.session, Key: other.key, Size: len([]rune(entry.Value)),
			CreatedAt: entry.CreatedAt, UpdatedAt: entry.UpdatedAt, ExpiresAt: entry.ExpiresAt,
		})
	}
	slices.SortFunc(want, func(a, b store.MemoryInfo) int {
		return cmp.Or(strings.Compare(a.SessionID, b.SessionID), strings.Compare(a.Key, b.Key))
	})
	got, err := listMemory(ctx, manager, params)
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		rt.Fatalf("list %+v: %v (-want +got):\n%s", params, err, diff)
	}
}
