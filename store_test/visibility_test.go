package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// sees is the rule of visibility, written a second time for the tests.
func sees(reader store.Reader, message store.Message) bool {
	own := message.Sender == reader.AgentID
	switch message.Visibility {
	case store.VisibilityPublic:
		return true
	case store.VisibilityPrivate:
		return own || reader.Admin
	case store.VisibilityAgentOnly:
		return own || reader.Admin || reader.AgentType != "" && reader.AgentType == message.SenderType
	default:
		return reader.Admin
	}
}

// visible returns what reader sees of messages under a filter, in their order.
func visible(messages []store.Message, reader store.Reader, filter store.Visibility) []store.Message {
	seen := []store.Message{}
	for _, message := range messages {
		if sees(reader, message) && (filter == "" || filter == message.Visibility) {
			seen = append(seen, message)
		}
	}
	return seen
}

var (
	levels     = []store.Visibility{store.VisibilityPublic, store.VisibilityPrivate, store.VisibilityAgentOnly, store.VisibilityAdminOnly}
	agents     = rapid.SampledFrom([]string{"a", "b", "c"})
	agentTypes = rapid.SampledFrom([]string{"claude", "gemini", "generic"})
)

// Every way of reading messages shows each reader exactly what the model says.
func TestVisibility(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	rapid.Check(t, func(rt *rapid.T) {
		session := newSession(ctx, t, f.Manager)
		written := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) store.NewMessage {
			return store.NewMessage{
				Sender: agents.Draw(rt, "sender"), SenderType: agentTypes.Draw(rt, "sender type"),
				Visibility: rapid.SampledFrom(levels).Draw(rt, "visibility"), Content: "x", Admin: true,
			}
		}), 1, 12).Draw(rt, "messages")
		messages, err := f.AddMessages(ctx, session.ID, written)
		if err != nil {
			rt.Fatal(err)
		}
		reader := store.Reader{
			AgentID:   rapid.SampledFrom([]string{"a", "b", "c", "stranger"}).Draw(rt, "reader"),
			AgentType: rapid.SampledFrom([]string{"", "claude", "gemini", "generic"}).Draw(rt, "reader type"),
			Admin:     rapid.Bool().Draw(rt, "admin"),
		}
		filter := rapid.SampledFrom(append(levels, "")).Draw(rt, "filter")
		checkReads(ctx, rt, f.Manager, session.ID, messages, reader, filter)
		memory := setSessionMemory(ctx, rt, f.Manager, session.ID)
		checkActiveList(ctx, rt, f.Manager, session, visible(messages, reader, ""), reader, memory)

		// Answers to one of them are a thread with it, of which the reader sees its part, if it sees where it asks.
		root := rapid.SampledFrom(messages).Draw(rt, "root")
		for i := range written {
			written[i].ParentMessageID = &root.ID
		}
		answers, err := f.AddMessages(ctx, session.ID, written)
		if err != nil {
			rt.Fatal(err)
		}
		thread := append([]store.Message{root}, answers...)
		asked := rapid.SampledFrom(thread).Draw(rt, "asked")
		got, err := f.GetMessageThread(ctx, session.ID, asked.ID, reader)
		if !sees(reader, asked) {
			if !errors.Is(err, store.ErrMessageNotFound) {
				rt.Fatalf("a thread by a message that %+v may not see: %v, %v", reader, got, err)
			}
			return
		}
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(visible(thread, reader, ""), got); diff != "" {
			rt.Fatalf("thread for %+v (-want +got):\n%s", reader, diff)
		}
	})
}

// Every kind of reader, through every filter, sees of a session that has every kind of message exactly what the model says.
func TestVisibilityOfEveryKind(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	var written []store.NewMessage
	for _, sender := range []string{"a", "b"} {
		for _, senderType := range []string{"claude", "gemini"} {
			for _, level := range levels {
				written = append(written, store.NewMessage{Sender: sender, SenderType: senderType, Visibility: level, Content: "x", Admin: true})
			}
		}
	}
	messages := f.add(ctx, t, written...)
	for _, agent := range []string{"a", "stranger"} {
		for _, agentType := range []string{"", "claude"} {
			for _, isAdmin := range []bool{false, true} {
				reader := store.Reader{AgentID: agent, AgentType: agentType, Admin: isAdmin}
				for _, filter := range append(levels, "") {
					checkReads(ctx, t, f.Manager, f.session.ID, messages, reader, filter)
				}
				checkActiveList(ctx, t, f.Manager, f.session, visible(messages, reader, ""), reader, nil)
			}
		}
	}
}

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func checkReads(ctx context.Context, t fataler, m *store.Manager, session string, messages []store.Message, reader store.Reader, filter store.Visibility) {
	want := visible(messages, reader, filter)
	params := store.GetMessagesParams{SessionID: session, Reader: reader, Visibility: filter}
	byOffset, err := m.GetMessages(ctx, params)
	if err != nil {
		t.Fatal(err)
	}
	params.After = &store.MessageCursor{}
	byKey, err := m.GetMessages(ctx, params)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, byOffset.Messages); diff != "" {
		t.Fatalf("page by offset for %+v, filter %q (-want +got):\n%s", reader, filter, diff)
	}
	if byOffset.TotalCount != int64(len(want)) {
		t.Fatalf("total count for %+v, filter %q is %d, want %d", reader, filter, byOffset.TotalCount, len(want))
	}
	if diff := cmp.Diff(want, byKey.Messages); diff != "" {
		t.Fatalf("page by key for %+v, filter %q (-want +got):\n%s", reader, filter, diff)
	}

	all := visible(messages, reader, "")
	slices.Reverse(all)
	detail, err := m.GetSession(ctx, session, reader)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, detail.Messages); diff != "" {
		t.Fatalf("latest messages for %+v (-want +got):\n%s", reader, diff)
	}

	checkOtherReads(ctx, t, m, session, all, reader)
}

// memoryEntry is what makes an entry of a session's memory count for a reader.
type memoryEntry struct {
	agent   string
	expired bool
}

// setSessionMemory sets some entries in the memory of a session, each under a key of its own.
func setSessionMemory(ctx context.Context, rt *rapid.T, m *store.Manager, session string) []memoryEntry {
	entries := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) memoryEntry {
		return memoryEntry{agents.Draw(rt, "agent"), rapid.Bool().Draw(rt, "expired")}
	}), 0, 4).Draw(rt, "memory")
	for i, entry := range entries {
		params := store.SetMemoryParams{AgentID: entry.agent, SessionID: session, Key: fmt.Sprint(i), Value: "x", TTL: time.Hour}
		if entry.expired {
			params.Now = ptr(time.Now().Add(-2 * time.Hour))
		}
		if _, err := m.SetMemory(ctx, params); err != nil {
			rt.Fatal(err)
		}
	}
	return entries
}

// checkActiveList compares a session in the active list with its messages that the reader may see, oldest first, and with
// its memory.
func checkActiveList(ctx context.Context, t fataler, m *store.Manager, session store.Session, seen []store.Message, reader store.Reader, memory []memoryEntry) {
	want := store.ActiveSession{Session: session, LastActivity: session.CreatedAt}
	senders := make(map[string]bool)
	for _, message := range seen {
		senders[message.Sender] = true
		want.LastActivity = message.Timestamp
	}
	want.MessageCount, want.Participants = int64(len(seen)), int64(len(senders))
	for _, entry := range memory {
		if !entry.expired && (reader.Admin || entry.agent == reader.AgentID) {
			want.MemoryCount++
		}
	}
	list, err := m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: reader, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list.Sessions, func(s store.ActiveSession) bool { return s.ID == session.ID })
	if i < 0 {
		t.Fatalf("session %s is not listed", session.ID)
	}
	if diff := cmp.Diff(want, list.Sessions[i]); diff != "" {
		t.Fatalf("listed for %+v (-want +got):\n%s", reader, diff)
	}
}

// checkOtherReads compares the reads without a filter with what the reader may see, newest first.
func checkOtherReads(ctx context.Context, t fataler, m *store.Manager, session string, visible []store.Message, reader store.Reader) {
	counts := store.MessageCounts{Total: int64(len(visible)), ByVisibility: make(map[store.Visibility]int64), BySender: make(map[string]int64)}
	oldestFirst := slices.Clone(visible)
	slices.Reverse(oldestFirst)
	for _, sender := range []string{"a", "b", "c"} {
		want := slices.DeleteFunc(slices.Clone(visible), func(message store.Message) bool { return message.Sender != sender })
		page, err := m.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: session, Reader: reader, Sender: sender})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, page.Messages); diff != "" {
			t.Fatalf("messages of %s for %+v (-want +got):\n%s", sender, reader, diff)
		}
	}
	for _, window := range []store.SearchWindow{store.SearchWindowRecent, store.SearchWindowAll} {
		found, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: session, Reader: reader, Query: "x", Window: window, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		got := []store.Message{}
		for _, result := range found.Results {
			got = append(got, result.Message)
		}
		if diff := cmp.Diff(visible, got); diff != "" {
			t.Fatalf("messages found in the window %s for %+v (-want +got):\n%s", window, reader, diff)
		}
	}
	byTime, err := m.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: session, Reader: reader})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(oldestFirst, byTime.Messages); diff != "" {
		t.Fatalf("messages by time for %+v (-want +got):\n%s", reader, diff)
	}
	for _, message := range visible {
		counts.ByVisibility[message.Visibility]++
		counts.BySender[message.Sender]++
	}
	got, err := m.CountMessages(ctx, session, reader)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(counts, got); diff != "" {
		t.Fatalf("counts for %+v (-want +got):\n%s", reader, diff)
	}
}

// A statement on messages that shows or counts any must have the condition on visibility, and all write it the same way.
func TestVisibilityConditionIsEverywhere(t *testing.T) {
	t.Parallel()
	const condition = "(m.visibility = ANY (@seen::text[]) " +
		"OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader) " +
		"OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))"
	white := regexp.MustCompile(`\s+`)
	reads := regexp.MustCompile(`(?i)\b(from|join) messages m\b`)
	anyRead := regexp.MustCompile(`(?i)\b(from|join) messages\b`)
	looks := regexp.MustCompile(`(?i)\b(from|join) messages (p|answer)\b`)
	candidates := regexp.MustCompile(`(?i)\b(from|join) messages candidate\b`)

	// These show no message: one counts all of them for admins, the others look whether a session is in use.
	exempt := []string{"DashboardTotals :one", "SessionLockUnused :many", "SessionDeleteUnused :one", "FollowStart :one"}

	files, err := filepath.Glob("../queries/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no queries: %v", err)
	}
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range strings.Split(string(text), "-- name: ")[1:] {
			name, sql, _ := strings.Cut(statement, "\n")
			if slices.Contains(exempt, name) {
				continue
			}
			sql = white.ReplaceAllString(sql, " ")
			// A page is merged from three lists of candidates, of which the condition then decides on each row.
			merged := strings.Count(sql, ") m WHERE "+condition)
			found := len(candidates.FindAllString(sql, -1))
			if found != 3*merged {
				t.Errorf("%s: %s reads candidates %d times and has %d times the condition behind three lists of them", file, name, found, merged)
			}
			shown := len(reads.FindAllString(sql, -1)) + merged
			checked += shown
			// A look at parents and answers, under these names, is no read: it asks whether rows are there.
			if others := len(anyRead.FindAllString(sql, -1)) - len(looks.FindAllString(sql, -1)) - found + merged; others != shown {
				t.Errorf("%s: %s reads messages %d times, of which %d under the name m", file, name, others, shown)
			}
			if conditions := strings.Count(sql, condition); conditions != shown {
				t.Errorf("%s: %s reads messages %d times, with the condition on visibility %d times", file, name, shown, conditions)
			}
		}
	}
	if checked == 0 {
		t.Error("no statement reads messages: the pattern of this test is wrong")
	}
}

func TestVisibilityValid(t *testing.T) {
	t.Parallel()
	for _, level := range levels {
		if !level.Valid() {
			t.Errorf("%s is not valid", level)
		}
	}
	for _, other := range []store.Visibility{"", "Public", "public ", "everyone"} {
		if other.Valid() {
			t.Errorf("%q is valid", other)
		}
	}
}
