package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// setupService is setup with a manager that uses the database as a service.
func setupService(tb testing.TB) (context.Context, fixture, store.Config) {
	tb.Helper()
	config := storetest.Service(tb, storetest.Config(tb))
	ctx, manager := storetest.Open(tb, config)
	return ctx, fixture{manager, newSession(ctx, tb, manager)}, config
}

// rawMessages reads the messages of a session by SQL of its own, in the order of reading.
func rawMessages(ctx context.Context, session string) ([]store.Message, error) {
	rows, err := store.ExecuteQuery(ctx, `SELECT id, session_id, sender, sender_type, content, visibility, message_type, timestamp, parent_message_id
		FROM messages WHERE session_id = ? ORDER BY timestamp, id`, session)
	messages := make([]store.Message, 0, len(rows))
	for _, row := range rows {
		message := store.Message{
			ID: row["id"].(int64), SessionID: row["session_id"].(string), Sender: row["sender"].(string), SenderType: row["sender_type"].(string),
			Content: row["content"].(string), Visibility: store.Visibility(row["visibility"].(string)),
			MessageType: store.MessageType(row["message_type"].(string)), Timestamp: row["timestamp"].(time.Time),
		}
		if parent, ok := row["parent_message_id"].(int64); ok {
			message.ParentMessageID = &parent
		}
		messages = append(messages, message)
	}
	return messages, err
}

// SQL of a service's own in the scope of a reader returns exactly the messages that GetMessages returns to that reader:
// from the table, through the view, and by a connection of GetDBConnection.
func TestAsReaderSeesWhatTheReaderSees(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupService(t)
	rapid.Check(t, func(rt *rapid.T) {
		session := newSession(ctx, t, f.Manager)
		written := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) store.NewMessage {
			return store.NewMessage{
				Sender: agents.Draw(rt, "sender"), SenderType: agentTypes.Draw(rt, "sender type"),
				Visibility: rapid.SampledFrom(levels).Draw(rt, "visibility"), Content: "x", Admin: true,
			}
		}), 1, 12).Draw(rt, "messages")
		if _, err := f.AddMessages(ctx, session.ID, written); err != nil {
			rt.Fatal(err)
		}
		checkRawReads(ctx, rt, f.Manager, session.ID, store.Reader{
			AgentID:   rapid.SampledFrom([]string{"a", "b", "c", "stranger"}).Draw(rt, "reader"),
			AgentType: rapid.SampledFrom([]string{"", "claude", "gemini", "generic"}).Draw(rt, "reader type"),
			Admin:     rapid.Bool().Draw(rt, "admin"),
		})
	})
}

// The same for every kind of reader and a session that has every kind of message.
func TestAsReaderOfEveryKind(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupService(t)
	var written []store.NewMessage
	for _, sender := range []string{"a", "b"} {
		for _, senderType := range []string{"claude", "gemini", `o'hara \`} {
			for _, level := range levels {
				written = append(written, store.NewMessage{Sender: sender, SenderType: senderType, Visibility: level, Content: "x", Admin: true})
			}
		}
	}
	f.add(ctx, t, written...)
	for _, agent := range []string{"a", "stranger"} {
		for _, agentType := range []string{"", "claude", `o'hara \`} {
			for _, isAdmin := range []bool{false, true} {
				checkRawReads(ctx, t, f.Manager, f.session.ID, store.Reader{AgentID: agent, AgentType: agentType, Admin: isAdmin})
			}
		}
	}
}

func checkRawReads(ctx context.Context, t fataler, m *store.Manager, session string, reader store.Reader) {
	page, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session, Reader: reader, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	want, scope := page.Messages, store.AsReader(ctx, reader)
	got, err := rawMessages(scope, session)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("raw messages for %+v (-want +got):\n%s", reader, diff)
	}

	var ids, wantIDs []int64
	senders := make(map[string]bool)
	for _, message := range want {
		wantIDs = append(wantIDs, message.ID)
		senders[message.Sender] = true
	}
	err = store.GetDBConnection(scope, func(ctx context.Context, conn *store.Conn) error {
		rows, err := conn.Query(ctx, "SELECT id FROM messages WHERE session_id = $1 ORDER BY timestamp, id", session)
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantIDs, ids); diff != "" && len(wantIDs)+len(ids) > 0 {
		t.Fatalf("ids by a connection for %+v (-want +got):\n%s", reader, diff)
	}

	rows, err := store.ExecuteQuery(scope, "SELECT message_count, unique_agents FROM active_sessions_with_activity WHERE id = ?", session)
	if errors.Is(err, store.ErrPermission) && !viewsAsk(ctx) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]any{{"message_count": int64(len(want)), "unique_agents": int64(len(senders))}}, rows); diff != "" {
		t.Fatalf("through the view for %+v (-want +got):\n%s", reader, diff)
	}
}

// viewsAsk reports whether views read with the rights of whoever asks. Before PostgreSQL 15 they cannot, and a reader has
// no right to them.
func viewsAsk(ctx context.Context) bool {
	rows, err := store.ExecuteQuery(ctx, "SELECT current_setting('server_version_num')::integer >= 150000 AS can")
	return err != nil || rows[0]["can"].(bool)
}

// A reader sees its own memory as GetMemory gives it, and its own audit events as ListAudit gives them; an admin all events.
func TestAsReaderMemoryAndAudit(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupService(t)
	past := time.Now().Add(-2 * time.Hour)
	for _, entry := range []store.SetMemoryParams{
		{AgentID: "alice", Key: "global", Value: "1"},
		{AgentID: "alice", SessionID: f.session.ID, Key: "session", Value: "2", TTL: time.Hour},
		{AgentID: "alice", Key: "expired", Value: "3", TTL: time.Hour, Now: &past},
		{AgentID: "bob", Key: "global", Value: "4"},
	} {
		if _, err := f.SetMemory(ctx, entry); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		reader store.Reader
		memory string
	}{
		{alice, "1,2"},
		{store.Reader{AgentID: "bob"}, "4"},
		{store.Reader{AgentID: "stranger"}, ""},
		{admin, ""}, // an admin has no memory of others either
	} {
		scope := store.AsReader(ctx, test.reader)
		rows, err := store.ExecuteQuery(scope, "SELECT coalesce(string_agg(value, ',' ORDER BY value), '') AS memory FROM agent_memory")
		if err != nil {
			t.Fatal(err)
		}
		if rows[0]["memory"] != test.memory {
			t.Errorf("%+v sees the memory %v, want %q", test.reader, rows[0], test.memory)
		}
		entries := 0
		if test.memory != "" {
			entries = len(strings.Split(test.memory, ","))
		}
		if viewsAsk(ctx) {
			if n := count(scope, t, "SELECT coalesce(sum(total_entries), 0)::bigint FROM agent_memory_summary"); int(n) != entries {
				t.Errorf("%+v sees %d entries in the summary, want %d", test.reader, n, entries)
			}
		}

		params := store.ListAuditParams{Reader: test.reader, Limit: 1000}
		if !test.reader.Admin {
			params.AgentID = test.reader.AgentID
		}
		events, err := f.ListAudit(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		want := []int64{}
		for _, event := range events.Events {
			want = append(want, event.ID)
		}
		slices.Sort(want)
		var got []int64
		raw, err := store.ExecuteQuery(scope, "SELECT id FROM audit_log ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range raw {
			got = append(got, row["id"].(int64))
		}
		if !slices.Equal(want, got) {
			t.Errorf("%+v sees the audit events %v, want %v", test.reader, got, want)
		}
		if viewsAsk(ctx) {
			if n := count(scope, t, "SELECT coalesce(sum(event_count), 0)::bigint FROM audit_activity_summary"); int(n) != len(want) {
				t.Errorf("%+v sees %d events in the summary, want %d", test.reader, n, len(want))
			}
		}
		if n := count(scope, t, "SELECT count(*) FROM sessions"); n != 1 {
			t.Errorf("%+v sees %d sessions, want 1", test.reader, n)
		}
	}
}

// What a reader may not see or do is refused, and changes nothing.
func TestAsReaderRefusals(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupService(t)
	f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "secret", Visibility: store.VisibilityPrivate})
	for _, reader := range []store.Reader{alice, admin} {
		scope := store.AsReader(ctx, reader)
		for _, sql := range []string{
			"SELECT * FROM secure_tokens",
			"SELECT * FROM message_keys",
			"SELECT * FROM audit_seal",
			"SELECT * FROM sessions FOR UPDATE",
			"SELECT nextval('messages_id_seq')",
			"WITH gone AS (DELETE FROM messages RETURNING 1) SELECT * FROM gone",
			"WITH new AS (INSERT INTO audit_log (event_type, agent_id) VALUES ('x', 'alice') RETURNING 1) SELECT * FROM new",
			"EXPLAIN ANALYZE UPDATE sessions SET is_active = false",
			"UPDATE sessions SET is_active = false",
			"INSERT INTO audit_log (event_type, agent_id) VALUES ('x', 'alice')",
			"DELETE FROM messages",
			"TRUNCATE messages",
			"CREATE TABLE mine (id int)",
			"SELECT 1 AS one INTO mine",
			"SET ROLE none",
			"RESET ROLE",
			"BEGIN",
			"COMMIT",
			"/* SELECT */ COMMIT",
			"-- SELECT\nRESET ROLE",
			"DO $$ BEGIN END $$",
			"SELECT 1; COMMIT; SELECT * FROM messages",
			"SELECT 1; COMMIT",
			"SELECT 1; (SELECT 2)",
			"SELECT 1; 'x'",
			"",
			";",
			"'SELECT'",
		} {
			for name, run := range map[string]func() error{
				"query":  func() error { _, err := store.ExecuteQuery(scope, sql); return err },
				"update": func() error { _, err := store.ExecuteUpdate(scope, sql); return err },
				"connection": func() error {
					return store.GetDBConnection(scope, func(ctx context.Context, conn *store.Conn) error {
						_, err := conn.Exec(ctx, sql)
						return err
					})
				},
				"rows": func() error {
					return store.GetDBConnection(scope, func(ctx context.Context, conn *store.Conn) error {
						return ignore(conn.QueryRow(ctx, sql).Scan(), pgx.ErrNoRows)
					})
				},
			} {
				if err := run(); !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), "AsReader") {
					t.Errorf("%s of %q: got error %v, want ErrPermission that speaks of the scope", name, sql, err)
				}
			}
		}
		_, err := store.ExecuteInsert(scope, "INSERT INTO audit_log (event_type, agent_id) VALUES ('x', 'alice')")
		wantError(t, err, store.ErrPermission)
		err = store.GetDBConnection(scope, func(ctx context.Context, conn *store.Conn) error {
			_, err := conn.CopyFrom(ctx, pgx.Identifier{"audit_log"}, []string{"event_type", "agent_id"}, pgx.CopyFromRows([][]any{{"x", "alice"}}))
			return err
		})
		wantError(t, err, store.ErrPermission)
	}
	if n := count(ctx, t, "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM sessions WHERE is_active)"); n != 2 {
		t.Errorf("%d rows are left, want 2", n)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'x'"); n != 0 {
		t.Errorf("%d audit rows were written", n)
	}
	_, err := store.ExecuteQuery(store.AsReader(ctx, store.Reader{AgentID: "not an agent"}), "SELECT 1")
	wantInvalid(t, err, "agent_id")
	err = store.GetDBConnection(store.AsReader(ctx, store.Reader{}), func(context.Context, *store.Conn) error { return nil })
	wantInvalid(t, err, "agent_id")
}

// Statements that read in other words than SELECT work.
func TestAsReaderStatements(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupService(t)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "x"})
	scope := store.AsReader(ctx, alice)
	for _, sql := range []string{
		"select 1", " -- comment\n/* another */ SELECT ';', $$;$$ ;  -- end", "(SELECT 1) UNION (SELECT 2)", "((SELECT 1));",
		"WITH one AS (SELECT 1) SELECT * FROM one", "VALUES (1)", "TABLE messages", "SHOW role", "EXPLAIN ANALYZE SELECT * FROM messages",
	} {
		if rows, err := store.ExecuteQuery(scope, sql); err != nil || len(rows) == 0 {
			t.Errorf("%s: %v, %v", sql, rows, err)
		}
		if n, err := store.ExecuteUpdate(scope, sql); err != nil {
			t.Errorf("%s: %d, %v", sql, n, err)
		}
	}
	if rows, err := store.ExecuteQuery(scope, "SHOW transaction_read_only"); err != nil || rows[0]["transaction_read_only"] != "on" {
		t.Errorf("the transaction may write: %v, %v", rows, err)
	}
	if rows, err := store.ExecuteQuery(scope, "SELECT sender FROM messages WHERE content = ? AND id > ?", "x", 0); err != nil || len(rows) != 1 {
		t.Errorf("with parameters: %v, %v", rows, err)
	}
}

// The scope ends with its statement: neither what follows on the connection nor the transaction around it reads as anybody.
func TestAsReaderLeavesNoTrace(t *testing.T) {
	t.Parallel()
	config := storetest.Service(t, storetest.Config(t))
	config.PoolSize = 1
	ctx, m := storetest.Open(t, config)
	session := newSession(ctx, t, m)
	if _, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "bob", Content: "x", Visibility: store.VisibilityPrivate}); err != nil {
		t.Fatal(err)
	}
	const all = "SELECT count(*) FROM messages"
	const trace = "SELECT current_user::text AS role, coalesce(current_setting('sharedcontext.agent_id', true), '') AS agent, current_setting('transaction_read_only') AS read_only"
	before, err := store.ExecuteQuery(ctx, trace)
	if err != nil {
		t.Fatal(err)
	}
	scope := store.AsReader(ctx, alice)
	check := func(ctx context.Context, when string) {
		t.Helper()
		after, err := store.ExecuteQuery(ctx, trace)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s (-before +after):\n%s", when, diff)
		}
		if n := count(ctx, t, all); n != 1 {
			t.Errorf("%s: the service sees %d messages, want 1", when, n)
		}
		if _, err := m.GetMessages(scope, store.GetMessagesParams{SessionID: session.ID, Reader: admin}); err != nil {
			t.Errorf("%s: an operation: %v", when, err)
		}
	}
	inside := func(ctx context.Context, when string) {
		t.Helper()
		if n := count(ctx, t, all); n != 0 {
			t.Errorf("%s: the reader sees %d messages, want 0", when, n)
		}
		if _, err := store.ExecuteQuery(ctx, "SELECT 1/0"); err == nil {
			t.Errorf("%s: 1/0 is something", when)
		}
	}
	inside(scope, "by itself")
	check(ctx, "after statements")

	err = m.InTx(scope, func(scope context.Context) error {
		inside(scope, "in a transaction")
		if _, err := m.AddMessage(scope, session.ID, store.NewMessage{Sender: "bob", Content: "y", Visibility: store.VisibilityAdminOnly, Admin: true}); err != nil {
			t.Errorf("an operation in a transaction: %v", err)
		}
		inside(scope, "after an operation")
		return store.GetDBConnection(scope, func(ctx context.Context, conn *store.Conn) error {
			var n int
			err := conn.QueryRow(ctx, all).Scan(&n)
			if n != 0 {
				t.Errorf("in a connection in a transaction the reader sees %d messages", n)
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(ctx, t, all); n != 2 {
		t.Errorf("%d messages, want that of the transaction as well", n)
	}
}

// A connection in the scope stays with its reader, whatever is called there.
func TestAsReaderConnection(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupService(t)
	f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "x", Visibility: store.VisibilityPrivate})
	bob := store.Reader{AgentID: "bob"}
	failure := errors.New("its own")
	err := store.GetDBConnection(store.AsReader(ctx, alice), func(ctx context.Context, conn *store.Conn) error {
		_, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: bob})
		wantError(t, err, store.ErrPermission)
		_, err = f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "alice", Content: "x"})
		wantError(t, err, store.ErrPermission)
		err = f.InTx(ctx, func(ctx context.Context) error {
			_, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: bob})
			return err
		})
		wantError(t, err, store.ErrPermission)

		// A function may set the role and the reader back: the next statement reads as alice again.
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages WHERE set_config('sharedcontext.agent_id', 'bob', true) <> ''").Scan(&n); err != nil {
			return err
		}
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages").Scan(&n); err != nil || n != 0 {
			t.Errorf("alice sees %d messages, %v", n, err)
		}
		if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 0 {
			t.Errorf("alice sees %d messages", n)
		}
		if n := count(store.AsReader(ctx, bob), t, "SELECT count(*) FROM messages"); n != 1 {
			t.Errorf("bob, named inside, sees %d messages, want 1", n)
		}
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages").Scan(&n); err != nil || n != 0 {
			t.Errorf("after bob, alice sees %d messages, %v", n, err)
		}
		return failure
	})
	wantError(t, err, failure)
}
