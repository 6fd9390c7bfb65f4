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
)

// hostileTexts are texts that have broken programs of this kind.
var hostileTexts = []string{
	// SQL
	`'; DROP TABLE messages; --`, `' OR '1'='1`, `"; DELETE FROM sessions; --`, `\'; SELECT pg_sleep(10); --`, `$1`, `$$`, `$tag$x$tag$`,
	`?`, `??`, `:name`, `@name`, `%s`, `E'\x41'`, `/* comment */`, `-- comment`, `;`, `\`, `\\`, `''`, `""`, "`", `NULL`, `null`, `DEFAULT`,
	`{}`, `{NULL}`, `{"a","b"}`, `(1,2)`, `ROW(1)`, `\N`, `\.`, `1; COMMIT`, `now()`, `-1`, `1e400000`, `0x1F`, `infinity`, `-infinity`,
	// LIKE, regular expressions, jsonb paths, text search
	`%`, `_`, `%_\%`, `.*`, `(a+)+$`, `[`, `^$`, `$.a ? (@ > 1)`, `$[*]`, `a & b | !c`, `key->>'x'`, `@>`, `{"a":`, `{"a":1}`, `[1,2`, `"a`,
	// format strings, templates, paths, other languages
	`%n%n%n`, `%!s(MISSING)`, `{{.}}`, `${jndi:ldap://x}`, `../../etc/passwd`, `<script>alert(1)</script>`, `a&amp;b`, "`id`", `$(id)`,
	// control characters and white space
	"a\x00b", "\x00", "a\x1bb", "a\r\nb", "\tx\t", " x ", "\u00a0x\u00a0", "x\u0085y", "\u2028", "\u2029", "a\x7fb", "\ufeffx",
	// look-alikes, directions, combining characters, the ends of Unicode
	"аdmin", "admin\u200b", "\u202egnp.exe", "e\u0301", "é", "ﬁ", "ß", "İi", "ſ", "𝒳", "👨‍👩‍👧‍👦", "\U0010ffff", "\ufffd", "\ufffe",
	strings.Repeat("\u0301", 50), "ﷺ", "日本語", "العربية", "हिन्दी",
	// invalid UTF-8
	"\xff", "a\xc3", "\xed\xa0\xbd", "\xf4\x90\x80\x80", "\xc0\xaf",
	// length
	strings.Repeat("x", 50), strings.Repeat("x", 51), strings.Repeat("ж", 1000), strings.Repeat("ж", 1001), strings.Repeat("a'\"\\", 5000),
}

// cleaned is the rule of texts, written a second time: what is stored of a text, and whether it is accepted at all.
func cleaned(text string, most int) (string, bool) {
	if !utf8.ValidString(text) {
		return "", false
	}
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cc, r) && r != '\t' && r != '\n' && r != '\r' {
			return -1
		}
		return r
	}, text))
	n := utf8.RuneCountInString(text)
	return text, n >= 1 && n <= most
}

// Every text argument takes every hostile text as it is, but for the documented cleaning, or refuses it before the
// database is asked; rows of others stay as they are.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	bystanders := func() string {
		rows, err := store.ExecuteQuery(ctx, `SELECT coalesce(string_agg(s::text, '' ORDER BY s.id), '') AS sessions,
			(SELECT string_agg(m::text, '' ORDER BY m.id) FROM messages m WHERE m.session_id = ?) AS messages FROM sessions s WHERE s.id = ?`,
			f.session.ID, f.session.ID)
		if err != nil {
			t.Fatal(err)
		}
		return rows[0]["sessions"].(string) + rows[0]["messages"].(string)
	}
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "bystander", Metadata: map[string]any{"a": 1}})
	before := bystanders()

	target := newSession(ctx, t, f.Manager)
	for _, text := range hostileTexts {
		checkHostileSession(ctx, t, f.Manager, text)
		checkHostileMessage(ctx, t, f.Manager, target.ID, text)
		checkHostileNames(ctx, t, f.Manager, target.ID, text)
		checkHostileAudit(ctx, t, f.Manager, target.ID, text)
	}
	if after := bystanders(); after != before {
		t.Errorf("rows of others were changed:\n%s\nbefore:\n%s", after, before)
	}
	sessions := count(ctx, t, "SELECT count(*) FROM sessions WHERE purpose <> 'test'")
	accepted := 0
	for _, text := range hostileTexts {
		if _, ok := cleaned(text, store.MaxPurposeLength); ok {
			accepted++
		}
	}
	if sessions != int64(accepted) {
		t.Errorf("%d sessions were created, want %d", sessions, accepted)
	}
}

// wantOutcome fails unless a text was accepted or refused as it should be.
func wantOutcome(t *testing.T, what, text string, err error, accepted bool) bool {
	t.Helper()
	var invalid *store.ValidationError
	switch {
	case accepted && err != nil:
		t.Errorf("%s %.40q is refused: %v", what, text, err)
	case !accepted && !errors.As(err, &invalid):
		t.Errorf("%s %.40q gives %v, want a ValidationError", what, text, err)
	}
	return accepted && err == nil
}

func checkHostileSession(ctx context.Context, t *testing.T, m *store.Manager, text string) {
	t.Helper()
	want, ok := cleaned(text, store.MaxPurposeLength)
	created, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: text, CreatedBy: "mallory"})
	if wantOutcome(t, "purpose", text, err, ok) {
		read, err := m.GetSession(ctx, created.ID, alice)
		if err != nil || read.Purpose != want {
			t.Errorf("purpose %.40q comes back as %.40q, %v", text, read.Purpose, err)
		}
	}
}

func checkHostileMessage(ctx context.Context, t *testing.T, m *store.Manager, session, text string) {
	t.Helper()
	want, ok := cleaned(text, store.MaxContentLength)
	added, err := m.AddMessage(ctx, session, store.NewMessage{Sender: "mallory", Content: text})
	batch, batchErr := m.AddMessages(ctx, session, []store.NewMessage{{Sender: "mallory", Content: text}})
	wantOutcome(t, "content in a batch", text, batchErr, ok)
	if wantOutcome(t, "content", text, err, ok) {
		for _, id := range []int64{added.ID, batch[0].ID} {
			if got := readMessage(ctx, t, m, session, id); got.Content != want {
				t.Errorf("content %.40q comes back as %.40q", text, got.Content)
			}
		}
	}

	for what, message := range map[string]store.NewMessage{
		"sender type":  {Sender: "mallory", Content: "x", SenderType: text},
		"message type": {Sender: "mallory", Content: "x", MessageType: store.MessageType(text)},
	} {
		want, ok := cleaned(text, 50)
		nothing := utf8.ValidString(text) && want == "" // which stands for the default
		added, err := m.AddMessage(ctx, session, message)
		if !wantOutcome(t, what, text, err, ok || nothing) || nothing {
			continue
		}
		got := readMessage(ctx, t, m, session, added.ID)
		if what == "sender type" && got.SenderType != want || what == "message type" && string(got.MessageType) != want {
			t.Errorf("%s %.40q comes back as %q, %q", what, text, got.SenderType, got.MessageType)
		}
	}

	want, ok = cleaned(text, 255)
	_, err = m.AddMessage(ctx, session, store.NewMessage{Sender: "mallory", Content: "keyed", IdempotencyKey: text})
	if wantOutcome(t, "idempotency key", text, err, ok) {
		if n := count(ctx, t, "SELECT count(*) FROM message_keys WHERE session_id = ? AND key = ?", session, want); n != 1 {
			t.Errorf("idempotency key %.40q is stored %d times as it is", text, n)
		}
	}

	// Metadata is JSON: what it can hold comes back byte for byte, what it cannot is refused.
	metadata := map[string]any{"value": text}
	ok = utf8.ValidString(text) && !strings.Contains(text, "\x00") && utf8.RuneCountInString(text) < 9000
	added, err = m.AddMessage(ctx, session, store.NewMessage{Sender: "mallory", Content: "x", Metadata: metadata})
	if wantOutcome(t, "metadata", text, err, ok) {
		var got map[string]any
		if err := json.Unmarshal(readMessage(ctx, t, m, session, added.ID).Metadata, &got); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(metadata, got); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
	}
}

func checkHostileAudit(ctx context.Context, t *testing.T, m *store.Manager, session, text string) {
	t.Helper()
	tests := []struct {
		what     string
		most     int
		required bool
		params   store.AppendAuditParams
		column   string
	}{
		{"event type", 100, true, store.AppendAuditParams{EventType: text}, "event_type"},
		{"resource", 255, false, store.AppendAuditParams{EventType: "x", Resource: text}, "resource"},
		{"action", 100, false, store.AppendAuditParams{EventType: "x", Action: text}, "action"},
		{"result", 100, false, store.AppendAuditParams{EventType: "x", Result: text}, "result"},
	}
	for _, test := range tests {
		want, ok := cleaned(text, test.most)
		nothing := !test.required && utf8.ValidString(text) && want == ""
		test.params.AgentID, test.params.SessionID = "mallory", session
		event, err := m.AppendAudit(ctx, test.params)
		if !wantOutcome(t, test.what, text, err, ok || nothing) {
			continue
		}
		rows, err := store.ExecuteQuery(ctx, "SELECT coalesce("+test.column+", '') AS text FROM audit_log WHERE id = ?", event.ID)
		if err != nil || rows[0]["text"] != want {
			t.Errorf("%s %.40q is stored as %v, %v", test.what, text, rows, err)
		}
	}
	_, ok := cleaned(text, 100)
	_, err := m.ListAudit(ctx, store.ListAuditParams{Reader: admin, EventType: text})
	wantOutcome(t, "event type to list", text, err, ok || utf8.ValidString(text) && strings.TrimFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.Is(unicode.Cc, r)
	}) == "")
}

// checkHostileNames tries the text where only names are accepted, none of which is among the hostile texts but plain ones.
func checkHostileNames(ctx context.Context, t *testing.T, m *store.Manager, session, text string) {
	t.Helper()
	plain := text != ""
	for i, r := range text {
		letter := r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
		plain = plain && (letter || i > 0 && (r == '-' || r == '_'))
	}
	plain = plain && len(text) <= 100
	_, err := m.AddMessage(ctx, session, store.NewMessage{Sender: text, Content: "x"})
	wantOutcome(t, "sender", text, err, plain)
	_, err = m.GetMessages(ctx, store.GetMessagesParams{SessionID: session, Reader: store.Reader{AgentID: text}})
	wantOutcome(t, "reader", text, err, plain)
	_, err = m.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: session, Reader: alice, Sender: text})
	wantOutcome(t, "sender to list", text, err, plain)
	_, err = m.GetMessages(ctx, store.GetMessagesParams{SessionID: text, Reader: alice})
	wantOutcome(t, "session", text, err, false)
	_, err = m.GetMessages(ctx, store.GetMessagesParams{SessionID: session, Reader: alice, Visibility: store.Visibility(text)})
	wantOutcome(t, "visibility", text, err, false)
	wantOutcome(t, "session to delete", text, m.DeleteSession(ctx, text, "mallory"), false)
	var cursor store.MessageCursor
	wantOutcome(t, "cursor", text, cursor.UnmarshalText([]byte(text)), false)

	// As a parameter of a service's own statement a text is only a text.
	rows, err := store.ExecuteQuery(ctx, "SELECT ?::text AS text", text)
	if utf8.ValidString(text) && !strings.Contains(text, "\x00") {
		if err != nil || rows[0]["text"] != text {
			t.Errorf("parameter %.40q comes back as %v, %v", text, rows, err)
		}
	} else if err == nil {
		t.Errorf("parameter %.40q, which PostgreSQL cannot hold, is accepted", text)
	}
}

func readMessage(ctx context.Context, t *testing.T, m *store.Manager, session string, id int64) store.Message {
	t.Helper()
	thread, err := m.GetMessageThread(ctx, session, id, admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range thread {
		if message.ID == id {
			return message
		}
	}
	t.Fatalf("message %d is not in its own thread", id)
	return store.Message{}
}
