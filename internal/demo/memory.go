package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// memoryPage is the size of the pages in which memory is listed.
const memoryPage = 7

// memoryName is what an entry of memory is known by.
type memoryName struct{ agent, session, key string }

// memoryWant is what an entry must hold.
type memoryWant struct {
	value    string
	metadata json.RawMessage
	expires  *time.Time
}

// remember keeps texts of the transcript in global memory and in that of its sessions, and reads them back.
func (o *operations) remember(ctx context.Context, at where) error {
	for i, conversation := range o.chosen {
		entry := conversation.Entries[len(conversation.Entries)-1]
		for _, session := range []string{"", o.sessions[conversation.ID].ID} {
			name := memoryName{o.agent, session, fmt.Sprintf("%snote.%02d", operationPrefix, i)}
			first := store.SetMemoryParams{Value: "a first text", Metadata: map[string]int{"line": 0}}
			if err := o.setMemory(ctx, at, name, first); err != nil {
				return err
			}
			second := store.SetMemoryParams{Value: clean(entry.Content), TTL: time.Duration(i%2) * time.Hour}
			if entry.Metadata != nil {
				second.Metadata = entry.Metadata
			}
			if err := o.setMemory(ctx, at, name, second); err != nil {
				return err
			}
		}
	}
	if err := o.setMemory(ctx, at, memoryName{o.other, "", operationPrefix + "note.00"}, store.SetMemoryParams{Value: "of another agent"}); err != nil {
		return err
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	for _, step := range []func(context.Context, where) error{
		o.readMemory, o.keepMemory, o.listMemory, o.followMemory, o.expireMemory, o.countMemory, o.forget,
	} {
		if err := step(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// setMemory sets an entry and notes what it must hold from then on.
func (o *operations) setMemory(ctx context.Context, at where, name memoryName, params store.SetMemoryParams) error {
	params.AgentID, params.SessionID, params.Key = name.agent, name.session, name.key
	o.called("SetMemory")
	got, err := o.manager.SetMemory(ctx, params)
	if err != nil {
		return err
	}
	want := &memoryWant{value: params.Value}
	if params.Metadata != nil {
		if want.metadata, err = json.Marshal(params.Metadata); err != nil {
			return err
		}
	}
	if params.TTL > 0 {
		// The database's clock tells from when on: only that it ends is known, and roughly when.
		if got.ExpiresAt == nil || got.ExpiresAt.Sub(got.UpdatedAt) < params.TTL-time.Minute || got.ExpiresAt.Sub(got.UpdatedAt) > params.TTL+time.Minute {
			o.wrong(at, "memory %s was to live %v and has the end %v", name.key, params.TTL, got.ExpiresAt)
		}
		want.expires = got.ExpiresAt
	}
	o.memory[name] = want
	o.caused(name.agent, "memory_set")
	o.compareMemory(at, name, want, &got)
	return nil
}

func (o *operations) compareMemory(at where, name memoryName, want *memoryWant, got *store.MemoryEntry) {
	if got.AgentID != name.agent || got.SessionID != name.session || got.Key != name.key {
		o.wrong(at, "memory %s is said to be %s of %s in %q", name.key, got.Key, got.AgentID, got.SessionID)
	}
	if got.Value != want.value {
		o.wrong(at, "memory %s differs from character %d on (%d bytes instead of %d)", name.key,
			firstDifference(got.Value, want.value), len(got.Value), len(want.value))
	}
	if !sameJSON(got.Metadata, want.metadata) {
		o.wrong(at, "metadata of memory %s is %.200s, not %.200s", name.key, orNone(got.Metadata), orNone(want.metadata))
	}
	if !sameTime(got.ExpiresAt, want.expires) {
		o.wrong(at, "memory %s ends at %v, not %v", name.key, got.ExpiresAt, want.expires)
	}
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// readMemory gets every entry, and asks for some as the wrong agent and in the wrong session.
func (o *operations) readMemory(ctx context.Context, at where) error {
	for name, want := range o.memory {
		o.called("GetMemory")
		got, err := o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: name.agent, SessionID: name.session, Key: name.key})
		if isAnswer(err) {
			o.wrong(at, "memory %s: %v", name.key, err)
			continue
		}
		if err != nil {
			return err
		}
		o.compareMemory(at, name, want, &got)
	}
	for _, name := range []memoryName{
		{o.other, o.sessions[o.chosen[0].ID].ID, operationPrefix + "note.00"},
		{o.agent, o.session.ID, operationPrefix + "note.00"},
		{o.agent, "", operationPrefix + "unknown"},
	} {
		o.called("GetMemory")
		_, err := o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: name.agent, SessionID: name.session, Key: name.key})
		if err := o.refused(at, "memory that was never set", err, store.ErrMemoryNotFound); err != nil {
			return err
		}
	}
	return nil
}

// keepMemory sets what is to be kept.
func (o *operations) keepMemory(ctx context.Context, at where) error {
	for _, session := range []string{"", o.sessions[o.chosen[0].ID].ID} {
		o.called("SetMemory")
		_, err := o.manager.SetMemory(ctx, store.SetMemoryParams{
			AgentID: o.agent, SessionID: session, Key: operationPrefix + "note.00", Value: "must not stay", KeepExisting: true,
		})
		if err := o.refused(at, "memory that is to be kept", err, store.ErrMemoryKeyExists); err != nil {
			return err
		}
	}
	o.called("SetMemory")
	_, err := o.manager.SetMemory(ctx, store.SetMemoryParams{AgentID: o.agent, SessionID: unknownSession, Key: operationPrefix + "x", Value: "x"})
	if err := o.refused(at, "memory in an unknown session", err, store.ErrSessionNotFound); err != nil {
		return err
	}
	return o.readMemory(ctx, at)
}

// listMemory lists all memory of the agent, that of a scope, and the keys with a prefix.
func (o *operations) listMemory(ctx context.Context, at where) error {
	session := o.sessions[o.chosen[0].ID].ID
	note := operationPrefix + "note."
	for _, list := range []struct {
		params  store.ListMemoryParams
		belongs func(memoryName) bool
	}{
		{store.ListMemoryParams{}, func(memoryName) bool { return true }},
		{store.ListMemoryParams{Scope: store.MemoryScopeAll, Prefix: note}, func(n memoryName) bool { return n.key[:min(len(note), len(n.key))] == note }},
		{store.ListMemoryParams{Scope: store.MemoryScopeGlobal}, func(n memoryName) bool { return n.session == "" }},
		{store.ListMemoryParams{Scope: store.MemoryScopeSession, SessionID: session}, func(n memoryName) bool { return n.session == session }},
		{store.ListMemoryParams{Prefix: "demo_"}, func(memoryName) bool { return false }}, // _ stands for itself
	} {
		params := list.params
		params.AgentID, params.Limit = o.agent, memoryPage
		seen := make(map[memoryName]bool)
		last, ended := "", make(map[string]bool)
		for more := true; more; {
			o.called("ListMemory")
			page, err := o.manager.ListMemory(ctx, params)
			if err != nil {
				return err
			}
			for i := range page.Entries {
				entry := &page.Entries[i]
				name := memoryName{entry.AgentID, entry.SessionID, entry.Key}
				if seen[name] || !list.belongs(name) || ended[entry.SessionID] {
					o.wrong(at, "memory %s is listed twice, out of order or where it does not belong", entry.Key)
				}
				if entry.SessionID != last {
					ended[last], last = true, entry.SessionID
				}
				seen[name] = true
				o.compareInfo(at, name, entry)
			}
			if page.HasMore && page.Next == nil || page.HasMore && len(page.Entries) != memoryPage {
				o.wrong(at, "the list of memory promises more behind %d entries", len(page.Entries))
				break
			}
			params.After, more = page.Next, page.HasMore
		}
		for name := range o.memory {
			if name.agent == o.agent && list.belongs(name) && !seen[name] {
				o.wrong(at, "memory %s is not listed (scope %q, prefix %q)", name.key, params.Scope, params.Prefix)
			}
		}
	}
	return nil
}

func (o *operations) compareInfo(at where, name memoryName, got *store.MemoryInfo) {
	want := o.memory[name]
	switch {
	case want == nil:
		o.wrong(at, "memory %s of %s is listed and must not be there", name.key, name.agent)
	case got.Size != utf8.RuneCountInString(want.value):
		o.wrong(at, "memory %s has %d characters in the list, not %d", name.key, got.Size, utf8.RuneCountInString(want.value))
	case !sameTime(got.ExpiresAt, want.expires):
		o.wrong(at, "memory %s ends at %v in the list, not %v", name.key, got.ExpiresAt, want.expires)
	}
}

// expireMemory sets an entry as of the past: it lived then and is gone now.
func (o *operations) expireMemory(ctx context.Context, at where) error {
	set, during := store.UTCNow().Add(-2*time.Hour), store.UTCNow().Add(-90*time.Minute)
	key := operationPrefix + "expired"
	o.called("SetMemory")
	_, err := o.manager.SetMemory(ctx, store.SetMemoryParams{AgentID: o.agent, Key: key, Value: "short-lived", TTL: time.Hour, Now: &set})
	if err != nil {
		return err
	}
	o.caused(o.agent, "memory_set")
	o.called("GetMemory")
	got, err := o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: o.agent, Key: key, Now: &during})
	if err != nil {
		return err
	}
	if end := set.Add(time.Hour); got.Value != "short-lived" || !sameTime(got.ExpiresAt, &end) {
		o.wrong(at, "memory with a time to live ends at %v, not %v", got.ExpiresAt, end)
	}
	o.called("GetMemory")
	_, err = o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: o.agent, Key: key})
	if err := o.refused(at, "memory that has expired", err, store.ErrMemoryNotFound); err != nil {
		return err
	}
	return o.listMemory(ctx, at)
}

// countMemory looks at what admins see of all memory. Other agents may have some too.
func (o *operations) countMemory(ctx context.Context, at where) error {
	var want store.MemoryCounts
	agents := make(map[string]bool)
	missing := make(map[memoryName]bool)
	for name, entry := range o.memory {
		agents[name.agent], missing[name] = true, true
		want.Total++
		if name.session == "" {
			want.Global++
		} else {
			want.Session++
		}
		if entry.expires != nil {
			want.Expiring++
		}
	}
	want.Agents = int64(len(agents))
	o.called("CountMemory")
	got, err := o.manager.CountMemory(ctx, store.CountMemoryParams{Reader: o.admin.forStore()})
	if err != nil {
		return err
	}
	if got.Total < want.Total || got.Global < want.Global || got.Session < want.Session || got.Expiring < want.Expiring ||
		got.Agents < want.Agents || got.Global+got.Session != got.Total {
		o.wrong(at, "the memory of all agents is %+v, and this run's alone %+v", got, want)
	}
	params := store.ListAllMemoryParams{Reader: o.admin.forStore(), Limit: 200}
	for pages, more := 0, true; more && pages < 50 && len(missing) > 0; pages++ {
		o.called("ListAllMemory")
		page, err := o.manager.ListAllMemory(ctx, params)
		if err != nil {
			return err
		}
		for i := range page.Entries {
			name := memoryName{page.Entries[i].AgentID, page.Entries[i].SessionID, page.Entries[i].Key}
			if name.agent == o.agent || name.agent == o.other {
				o.compareInfo(at, name, &page.Entries[i])
				delete(missing, name)
			}
		}
		params.After, more = page.Next, page.HasMore
	}
	if len(missing) > 0 {
		o.wrong(at, "the list of all memory lacks %d of %d entries", len(missing), want.Total)
	}
	o.called("CountMemory")
	_, err = o.manager.CountMemory(ctx, store.CountMemoryParams{Reader: store.Reader{AgentID: o.agent}})
	if err := o.refused(at, "counts for an agent", err, store.ErrPermission); err != nil {
		return err
	}
	o.called("ListAllMemory")
	_, err = o.manager.ListAllMemory(ctx, store.ListAllMemoryParams{Reader: store.Reader{AgentID: o.agent}})
	return o.refused(at, "the memory of all for an agent", err, store.ErrPermission)
}

// forget deletes an entry, which must leave that of the same key in the other scope alone.
func (o *operations) forget(ctx context.Context, at where) error {
	key := operationPrefix + "note.00"
	for _, name := range []memoryName{{o.agent, "", key}, {o.agent, o.sessions[o.chosen[len(o.chosen)-1].ID].ID, fmt.Sprintf("%snote.%02d", operationPrefix, len(o.chosen)-1)}} {
		o.called("DeleteMemory")
		if err := o.manager.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: name.agent, SessionID: name.session, Key: name.key}); err != nil {
			return err
		}
		delete(o.memory, name)
		o.caused(o.agent, "memory_deleted")
		o.called("GetMemory")
		_, err := o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: name.agent, SessionID: name.session, Key: name.key})
		if err := o.refused(at, "memory that was deleted", err, store.ErrMemoryNotFound); err != nil {
			return err
		}
		o.called("DeleteMemory")
		err = o.manager.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: name.agent, SessionID: name.session, Key: name.key})
		if err := o.refused(at, "memory that was deleted before", err, store.ErrMemoryNotFound); err != nil {
			return err
		}
	}
	return o.readMemory(ctx, at)
}
