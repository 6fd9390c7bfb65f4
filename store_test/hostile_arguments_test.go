package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// isName is the rule of agent ids, written a second time.
func isName(text string) bool {
	for i, r := range text {
		if r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && (i == 0 || r != '-' && r != '_') {
			return false
		}
	}
	return text != "" && len(text) <= 100
}

// isType is the rule of the types of readers: none, or what is left of them after cleaning.
func isType(text string) bool {
	_, ok := cleaned(text, store.MaxSenderTypeLength)
	return ok || isBlank(text)
}

// isBlank reports whether nothing is left of a text after cleaning.
func isBlank(text string) bool {
	left, _ := cleaned(text, 1)
	return left == "" && utf8.ValidString(text)
}

// isCursorText is the rule of the texts of cursors on the audit log and the dashboards.
func isCursorText(text string) bool {
	_, ok := cleaned(text, 255)
	return (ok || isBlank(text)) && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.Is(unicode.Cc, r) && r != '\t' && r != '\n' && r != '\r'
	})
}

// past returns err unless it refuses this field, which is looked at after the one that is tested.
func past(err error, field string) error {
	var invalid *store.ValidationError
	if errors.As(err, &invalid) && invalid.Field == field {
		return nil
	}
	return err
}

func never(string) bool { return false }

// Every operation takes or refuses a hostile text in the place of each name that it is given. None of these calls changes
// what is there.
func TestHostileArguments(t *testing.T) {
	t.Parallel()
	config := tokenConfig(t, tokenKey)
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "bystander", Metadata: map[string]any{"a": 1}})
	for _, session := range []string{"", f.session.ID} {
		if _, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: session, Key: "k", Value: "v"}); err != nil {
			t.Fatal(err)
		}
	}
	token := newToken(ctx, t, m)
	everything := func() string {
		rows, err := store.ExecuteQuery(ctx, `SELECT (SELECT string_agg(s::text, '|' ORDER BY id) FROM sessions s) || (SELECT string_agg(m::text, '|' ORDER BY id) FROM messages m)
			|| (SELECT string_agg(e::text, '|' ORDER BY id) FROM agent_memory e) || (SELECT string_agg(t::text, '|' ORDER BY id) FROM secure_tokens t)
			|| (SELECT string_agg(a::text, '|' ORDER BY id) FROM audit_log a WHERE id <= ?) AS rows`, count(ctx, t, "SELECT min(id) + 4 FROM audit_log"))
		if err != nil {
			t.Fatal(err)
		}
		return rows[0]["rows"].(string)
	}
	before := everything()
	for _, text := range hostileTexts {
		for name, argument := range hostileArguments(ctx, f) {
			wantOutcome(t, name, text, argument.call(text), argument.accepted(text))
		}
		for name, call := range map[string]func(string) error{
			"resolve token": func(text string) error { _, err := m.ResolveToken(ctx, text); return err },
			"refresh token": func(text string) error { _, err := m.RefreshToken(ctx, text); return err },
			"recover token": func(text string) error { _, err := m.RecoverToken(ctx, text); return err },
		} {
			if err := call(text); !errors.Is(err, store.ErrTokenInvalid) {
				t.Errorf("%s %.40q gives %v, want %v", name, text, err, store.ErrTokenInvalid)
			}
		}
	}
	if after := everything(); after != before {
		t.Errorf("what was there is changed:\n%s\nbefore:\n%s", after, before)
	}
	if _, err := m.ResolveToken(ctx, token.ID); err != nil {
		t.Errorf("the token that was there: %v", err)
	}
}

// argument is a call with a text in the place of a name, and the rule that says whether the text is accepted there.
type argument struct {
	accepted func(string) bool
	call     func(text string) error
}

// hostileArguments are the names that operations are given. That of a session is never one of the hostile texts.
func hostileArguments(ctx context.Context, f fixture) map[string]argument {
	arguments := map[string]argument{
		"creator of a session": {isName, func(text string) error {
			_, err := f.CreateSession(ctx, store.CreateSessionParams{Purpose: "x", CreatedBy: text, Metadata: "no object"})
			return past(err, "metadata")
		}},
		"agent who deactivates": {isName, func(text string) error {
			return ignore(f.DeactivateSession(ctx, unknownSession, text), store.ErrSessionNotFound)
		}},
		"agent who deletes": {isName, func(text string) error {
			return ignore(f.DeleteSession(ctx, unknownSession, text), store.ErrSessionNotFound)
		}},
		"agent of memory to set": {isName, func(text string) error {
			_, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: text, SessionID: unknownSession, Key: "k", Value: "v"})
			return ignore(err, store.ErrSessionNotFound)
		}},
		"agent of memory to get": {isName, func(text string) error {
			_, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: text, Key: "k"})
			return ignore(err, store.ErrMemoryNotFound)
		}},
		"agent of memory to delete": {isName, func(text string) error {
			return ignore(f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: text, Key: "k"}), store.ErrMemoryNotFound)
		}},
		"agent of memory to list": {isName, func(text string) error {
			_, err := f.ListMemory(ctx, store.ListMemoryParams{AgentID: text})
			return err
		}},
		"scope of memory": {func(text string) bool { return text == "" }, func(text string) error {
			_, err := f.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", Scope: store.MemoryScope(text)})
			return err
		}},
		"agent of an event": {isName, func(text string) error {
			_, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: text})
			return err
		}},
		"agent of events to list": {isName, func(text string) error {
			_, err := f.ListAudit(ctx, store.ListAuditParams{Reader: admin, AgentID: text})
			return err
		}},
		"agent of events to summarize": {isName, func(text string) error {
			_, err := f.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: admin, AgentID: text})
			return err
		}},
		"cursor of a summary": {isCursorText, func(text string) error {
			_, err := f.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: admin, After: &store.AuditActivityCursor{AgentID: text, EventType: text}})
			return err
		}},
		"cursor of session activity": {isCursorText, func(text string) error {
			_, err := f.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: admin, After: &store.SessionActivityCursor{ID: text}})
			return err
		}},
		"cursor of agents with memory": {isCursorText, func(text string) error {
			_, err := f.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: admin, After: &store.AgentMemoryCursor{AgentID: text}})
			return err
		}},
		"cursor of active sessions": {never, func(text string) error {
			_, err := f.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice, After: &store.SessionCursor{ID: text}})
			return err
		}},
		"cursor of the audit log": {never, func(text string) error { return new(store.AuditCursor).UnmarshalText([]byte(text)) }},
		"agent of a token": {isName, func(text string) error {
			_, err := f.CreateToken(ctx, store.CreateTokenParams{AgentID: text})
			return past(err, "jwt")
		}},
	}
	for name, call := range sessionArguments(ctx, f) {
		arguments["session to "+name] = argument{never, call}
	}
	for name, read := range readerArguments(ctx, f) {
		arguments["reader who "+name] = argument{isName, func(text string) error { return read(store.Reader{AgentID: text, Admin: true}) }}
		arguments["type of a reader who "+name] = argument{isType, func(text string) error {
			return read(store.Reader{AgentID: "alice", AgentType: text, Admin: true})
		}}
	}
	return arguments
}

// sessionArguments are the operations on a session.
func sessionArguments(ctx context.Context, f fixture) map[string]func(session string) error {
	return map[string]func(string) error{
		"get":        func(s string) error { _, err := f.GetSession(ctx, s, alice); return err },
		"merge":      func(s string) error { _, err := f.MergeSessionMetadata(ctx, s, map[string]any{"k": 1}); return err },
		"deactivate": func(s string) error { return f.DeactivateSession(ctx, s, "mallory") },
		"add a message": func(s string) error {
			_, err := f.AddMessage(ctx, s, store.NewMessage{Sender: "a", Content: "x"})
			return err
		},
		"add messages": func(s string) error {
			_, err := f.AddMessages(ctx, s, []store.NewMessage{{Sender: "a", Content: "x"}})
			return err
		},
		"get a thread": func(s string) error { _, err := f.GetMessageThread(ctx, s, 1, alice); return err },
		"count":        func(s string) error { _, err := f.CountMessages(ctx, s, alice); return err },
		"list by time": func(s string) error {
			_, err := f.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: s, Reader: alice})
			return err
		},
		"list by sender": func(s string) error {
			_, err := f.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: s, Reader: alice, Sender: "alice"})
			return err
		},
		"set memory": func(s string) error {
			_, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: "a", SessionID: s, Key: "k", Value: "v"})
			return err
		},
		"get memory": func(s string) error {
			_, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: s, Key: "k"})
			return err
		},
		"delete memory": func(s string) error {
			return f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", SessionID: s, Key: "k"})
		},
		"list memory": func(s string) error {
			_, err := f.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", Scope: store.MemoryScopeSession, SessionID: s})
			return err
		},
		"append an event": func(s string) error {
			_, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "a", SessionID: s})
			return err
		},
		"list events": func(s string) error {
			_, err := f.ListAudit(ctx, store.ListAuditParams{Reader: admin, SessionID: s})
			return err
		},
	}
}

// readerArguments are the operations that a reader asks for.
func readerArguments(ctx context.Context, f fixture) map[string]func(store.Reader) error {
	id := f.session.ID
	return map[string]func(store.Reader) error{
		"gets a session": func(r store.Reader) error { _, err := f.GetSession(ctx, id, r); return err },
		"lists active sessions": func(r store.Reader) error {
			_, err := f.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: r})
			return err
		},
		"gets messages": func(r store.Reader) error {
			_, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: id, Reader: r})
			return err
		},
		"lists by time": func(r store.Reader) error {
			_, err := f.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: id, Reader: r})
			return err
		},
		"lists by sender": func(r store.Reader) error {
			_, err := f.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: id, Reader: r, Sender: "alice"})
			return err
		},
		"gets a thread": func(r store.Reader) error {
			_, err := f.GetMessageThread(ctx, id, 1, r)
			return ignore(err, store.ErrMessageNotFound)
		},
		"counts messages": func(r store.Reader) error { _, err := f.CountMessages(ctx, id, r); return err },
		"lists events":    func(r store.Reader) error { _, err := f.ListAudit(ctx, store.ListAuditParams{Reader: r}); return err },
		"summarizes events": func(r store.Reader) error {
			_, err := f.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: r})
			return err
		},
		"lists all memory": func(r store.Reader) error {
			_, err := f.ListAllMemory(ctx, store.ListAllMemoryParams{Reader: r})
			return err
		},
		"counts memory": func(r store.Reader) error {
			_, err := f.CountMemory(ctx, store.CountMemoryParams{Reader: r})
			return err
		},
		"asks for totals": func(r store.Reader) error { _, err := f.Totals(ctx, r); return err },
		"lists activity": func(r store.Reader) error {
			_, err := f.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: r})
			return err
		},
		"lists memory of agents": func(r store.Reader) error {
			_, err := f.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: r})
			return err
		},
	}
}

// The JSON of metadata comes back as it was from wherever it is kept, as a value and as a key, or is refused.
func TestHostileMetadata(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	writes := map[string]func(metadata any) (json.RawMessage, error){
		"session": func(metadata any) (json.RawMessage, error) {
			session, err := f.CreateSession(ctx, store.CreateSessionParams{Purpose: "x", CreatedBy: "mallory", Metadata: metadata})
			if err != nil {
				return nil, err
			}
			detail, err := f.GetSession(ctx, session.ID, alice)
			return detail.Metadata, err
		},
		"merged": func(metadata any) (json.RawMessage, error) {
			session := newSession(ctx, t, f.Manager)
			if _, err := f.MergeSessionMetadata(ctx, session.ID, metadata); err != nil {
				return nil, err
			}
			detail, err := f.GetSession(ctx, session.ID, alice)
			return detail.Metadata, err
		},
		"message": func(metadata any) (json.RawMessage, error) {
			added, err := f.AddMessages(ctx, f.session.ID, []store.NewMessage{{Sender: "mallory", Content: "x", Metadata: metadata}})
			if err != nil {
				return nil, err
			}
			return readMessage(ctx, t, f.Manager, f.session.ID, added[0].ID).Metadata, nil
		},
		"memory": func(metadata any) (json.RawMessage, error) {
			params := store.SetMemoryParams{AgentID: "mallory", Key: "k", Value: "v", Metadata: metadata}
			if _, err := f.SetMemory(ctx, params); err != nil {
				return nil, err
			}
			entry, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "mallory", Key: "k"})
			return entry.Metadata, err
		},
		"event": func(metadata any) (json.RawMessage, error) {
			if _, err := f.AppendAudit(ctx, store.AppendAuditParams{EventType: "hostile", AgentID: "mallory", Metadata: metadata}); err != nil {
				return nil, err
			}
			page, err := f.ListAudit(ctx, store.ListAuditParams{Reader: admin, EventType: "hostile", Limit: 1})
			return page.Events[0].Metadata, err
		},
	}
	for _, text := range hostileTexts {
		storable := utf8.ValidString(text) && !strings.Contains(text, "\x00")
		for what, write := range writes {
			for place, metadata := range map[string]map[string]any{"value": {"k": []any{text}}, "key": {text: true}} {
				accepted := storable && utf8.RuneCountInString(text) < 9000 && (place == "value" || utf8.RuneCountInString(text) <= store.MaxMetadataKeyLength)
				got, err := write(metadata)
				if !wantOutcome(t, place+" in metadata of a "+what, text, err, accepted) {
					continue
				}
				var read map[string]any
				if err := json.Unmarshal(got, &read); err != nil {
					t.Errorf("metadata of a %s: %v", what, err)
				}
				if diff := cmp.Diff(metadata, read); diff != "" {
					t.Errorf("%s in metadata of a %s (-want +got):\n%s", place, what, diff)
				}
			}
		}
	}
}

// What a token stands for comes back byte for byte: it is encrypted, so that even a NUL can be kept.
func TestHostileJWT(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, tokenConfig(t, tokenKey))
	for _, text := range hostileTexts {
		token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "mallory", JWT: store.Secret(text)})
		if !wantOutcome(t, "JWT", text, err, utf8.ValidString(text) && text != "" && len(text) <= store.MaxJWTLength) {
			continue
		}
		resolved, err := m.ResolveToken(ctx, token.ID)
		if err != nil || resolved.JWT.Reveal() != text {
			t.Errorf("JWT %.40q comes back as %.40q, %v", text, resolved.JWT.Reveal(), err)
		}
	}
}
