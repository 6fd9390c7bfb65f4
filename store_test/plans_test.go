package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// planRows fill a database as it is after some months: 200 sessions of 200 messages, one of 20,000 that are nearly all
// private to others, and the audit rows, memory and tokens beside them. The sent texts have the length of short remarks.
const planRows = `
INSERT INTO sessions (id, purpose, created_by, is_active)
SELECT 'session_' || lpad(to_hex(i), 16, '0'), 'plans', 'agent_0', i > 0 FROM generate_series(0, 200) i;
INSERT INTO messages (session_id, sender, sender_type, content, visibility, timestamp)
SELECT 'session_' || lpad(to_hex(1 + i % 200), 16, '0'), 'agent_' || i / 200 % 7, CASE WHEN i / 200 % 3 = 0 THEN 'claude' ELSE 'gemini' END,
       repeat('remark ', 10) || i, CASE i / 200 % 10 WHEN 0 THEN 'private' WHEN 1 THEN 'agent_only' ELSE 'public' END,
       now() - interval '1 day' + i * interval '1 second'
FROM generate_series(1, 40000) i;
INSERT INTO messages (session_id, sender, sender_type, content, visibility, timestamp)
SELECT 'session_0000000000000000', CASE WHEN i % 5 = 0 THEN 'alice' ELSE 'agent_' || i % 7 END, 'gemini', repeat('remark ', 10) || i,
       CASE WHEN i % 400 = 0 THEN 'public' WHEN i % 5 = 0 THEN 'admin_only' WHEN i % 3 = 0 THEN 'agent_only' ELSE 'private' END,
       now() - interval '1 day' + i * interval '1 second'
FROM generate_series(1, 20000) i;
INSERT INTO audit_log (event_type, agent_id, session_id, timestamp)
SELECT 'message_added', CASE WHEN i % 100 = 0 THEN 'alice' ELSE 'agent_' || i % 7 END, 'session_' || lpad(to_hex(1 + i % 200), 16, '0'),
       now() - interval '1 day' + i * interval '1 second'
FROM generate_series(1, 20000) i;
INSERT INTO agent_memory (agent_id, session_id, key, value)
SELECT CASE WHEN i % 20 < 2 THEN 'alice' ELSE 'agent_' || i % 7 END,
       CASE WHEN i % 2 = 0 THEN 'session_' || lpad(to_hex(1 + i / 2 % 200), 16, '0') END, 'key_' || lpad(i::text, 5, '0'), 'value'
FROM generate_series(1, 10000) i;
INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at)
SELECT 'sct_' || i, '\x00', 'agent_' || i % 7, now() + interval '1 hour' FROM generate_series(1, 5000) i;
VACUUM ANALYZE;`

// statement keeps the latest statement that a manager sent, and its arguments.
type statement struct {
	sql  string
	args []any
}

func (s *statement) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	// Followers are told of a message beside what follows it.
	if len(data.Args) > 0 && !strings.Contains(data.SQL, "name: FollowNotify") {
		s.sql, s.args = data.SQL, slices.Clone(data.Args)
	}
	return ctx
}

func (*statement) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// planNode is a node of a plan that was executed.
type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Index    string     `json:"Index Name"`
	Rows     float64    `json:"Actual Rows"`
	Loops    float64    `json:"Actual Loops"`
	Removed  float64    `json:"Rows Removed by Filter"`
	Hit      int        `json:"Shared Hit Blocks"`
	Read     int        `json:"Shared Read Blocks"`
	Plans    []planNode `json:"Plans"`
}

// hotQuery is an operation and what its plan must be like.
type hotQuery struct {
	name    string
	call    func(context.Context, *store.Manager) error
	indexes []string // all of these are used
	pages   int      // no more are read or written, of indexes and tables
	sorted  int      // no more rows are put in order, 0 when the order is that of an index
}

const quietSession, busySession = "session_0000000000000000", "session_0000000000000007"

// bigTables are never read from end to end.
var bigTables = []string{"messages", "audit_log", "agent_memory", "secure_tokens"}

func hotQueries(latest store.MessageCursor) []hotQuery {
	page := []string{"idx_messages_visible_order", "idx_messages_sender_order", "idx_messages_kin_order"}
	read := func(session string, after store.MessageCursor) func(context.Context, *store.Manager) error {
		return func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session, Reader: alice, After: &after})
			return err
		}
	}
	// A page of 51 rows of each way to see messages, a row on a page of its own, and the way down each index.
	const merged, pages = 4 * 51, 4*51 + 4*6
	return []hotQuery{
		{"add", func(ctx context.Context, m *store.Manager) error {
			_, err := m.AddMessage(ctx, busySession, store.NewMessage{Sender: "alice", Content: "new"})
			return err
		}, nil, 150, 0}, // some of them of the catalogue, after a vacuum
		{"page after a cursor, few visible of many", read(quietSession, store.MessageCursor{}), page, pages, merged},
		{"page after a cursor", read(busySession, store.MessageCursor{}), page, pages, merged},
		{"poll", read(busySession, latest), page, 30, 1}, // one row says that nothing is new
		{"follow", func(ctx context.Context, m *store.Manager) error {
			cursor, err := m.LatestFollowCursor(ctx, busySession)
			if err != nil {
				return err
			}
			if _, err := m.AddMessage(ctx, busySession, store.NewMessage{Sender: "alice", Content: "new"}); err != nil {
				return err
			}
			for _, err := range m.Follow(ctx, store.FollowParams{SessionID: busySession, Reader: alice, After: cursor}) {
				return err
			}
			return nil
		}, []string{"idx_messages_follow_order"}, 40, 3},
		{"newest page, few visible of many", func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetSession(ctx, quietSession, alice)
			return err
		}, page, pages, merged},
		{"newest page", func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetSession(ctx, busySession, alice)
			return err
		}, page, pages, merged},
		// A reader with a type would also look through what the sender has shown to its own kind.
		{"by sender, few visible of many", func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: quietSession, Reader: store.Reader{AgentID: "alice"}, Sender: "agent_1"})
			return err
		}, page[1:2], pages, merged},
		{"by time, few visible of many", func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: quietSession, Reader: alice})
			return err
		}, page, pages, merged},
		// Its 200 messages stand on a page each, and its audit row is written. Any index of the session serves it.
		{"search", func(ctx context.Context, m *store.Manager) error {
			_, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: busySession, Reader: alice, Query: "remark"})
			return err
		}, nil, 200 + 60, 200},
		{"get memory", func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", Key: "key_00021"})
			return err
		}, []string{"idx_agent_memory_unique_global"}, 10, 0},
		{"get memory of a session", func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: busySession, Key: "key_00012"})
			return ignore(err, store.ErrMemoryNotFound)
		}, []string{"agent_memory_agent_id_session_id_key_key"}, 10, 0},
		{"set memory", func(ctx context.Context, m *store.Manager) error {
			_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "key_00021", Value: "new"})
			return err
		}, nil, 150, 0}, // some of them of the catalogue, after a vacuum
		{"list memory", func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice"})
			return err
			// Without the values, the plan reads all 1,000 entries of the agent and puts them in order.
		}, []string{"idx_agent_memory_unique_global", "agent_memory_agent_id_session_id_key_key"}, 300, 500},
		{"resolve token", func(ctx context.Context, m *store.Manager) error {
			_, err := m.ResolveToken(ctx, "sct_5b1f7c1e-0d5e-4a53-9a39-3c1d2f0e8a77")
			return ignore(err, store.ErrTokenInvalid)
		}, []string{"secure_tokens_token_id_key"}, 10, 0},
		{"list audit", func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListAudit(ctx, store.ListAuditParams{Reader: admin})
			return err
		}, []string{"idx_audit_log_timestamp"}, 70, 60},
		{"list audit of an agent", func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListAudit(ctx, store.ListAuditParams{Reader: admin, AgentID: "alice"})
			return err
		}, []string{"idx_audit_log_agent_time"}, 70, 60},
		{"list active sessions", func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice, Limit: 5})
			return err
			// The latest visible message of each of 200 sessions, then all visible messages of six.
		}, []string{"idx_messages_session_order"}, 200*6 + 6*220, 6 * 200},
	}
}

// The hot statements use their indexes, put no more than a page in order and read no more than what a page takes, planned
// with their values and without, for the owner and for a service, for whom the policies of row-level security are added.
// Each assertion is shown to fail where the index is missing.
func TestPlans(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("fills a database with 60,000 messages")
	}
	config := storetest.Service(t, storetest.Config(t))
	conn := connect(t, config)
	for _, fill := range strings.SplitAfter(planRows, ";\n") {
		exec1(t, conn, fill)
	}
	sent := new(statement)
	config.Tracer = sent
	ctx, m := storetest.Open(t, config)
	end, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: busySession, Reader: admin, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range hotQueries(end.Next) {
		if err := query.call(ctx, m); err != nil {
			t.Fatalf("%s: %v", query.name, err)
		}
		for _, setting := range []string{"plan_cache_mode = force_custom_plan", "plan_cache_mode = force_generic_plan"} {
			for _, role := range []string{"ROLE none", serviceRole(config)} {
				plan, text := explain(t, conn, *sent, "", setting, role)
				if problems := query.problems(plan); len(problems) > 0 {
					t.Errorf("%s, %s, %s: %s\n%s", query.name, setting, role, strings.Join(problems, "; "), text)
				}
			}
			for _, index := range query.indexes {
				if !strings.HasPrefix(index, "idx_") { // that of a constraint
					continue
				}
				if plan, text := explain(t, conn, *sent, index, setting); len(query.problems(plan)) == 0 {
					t.Errorf("%s, %s: all seems well without %s\n%s", query.name, setting, index, text)
				}
			}
		}
	}
}

// serviceRole is the setting that makes the owner of a database the service that storetest.Service has made for it.
func serviceRole(config store.Config) string {
	return "ROLE " + pgx.Identifier{strings.TrimSuffix(config.ReaderRole, "reader") + "service"}.Sanitize()
}

// explain executes a statement without a trace, after dropping an index if any, under settings, and returns its plan.
func explain(tb testing.TB, conn *pgx.Conn, s statement, without string, settings ...string) (planNode, string) {
	tb.Helper()
	exec1(tb, conn, "BEGIN")
	defer exec1(tb, conn, "ROLLBACK")
	if without != "" {
		exec1(tb, conn, "DROP INDEX "+without)
	}
	for _, setting := range settings {
		exec1(tb, conn, "SET LOCAL "+setting)
	}
	if _, err := conn.PgConn().Exec(tb.Context(), "PREPARE hot AS "+s.sql).ReadAll(); err != nil {
		tb.Fatal(err)
	}
	defer exec1(tb, conn, "DEALLOCATE hot")
	args := []any{pgx.QueryExecModeSimpleProtocol}
	marks := make([]string, len(s.args))
	for i, arg := range s.args {
		if object, ok := arg.(json.RawMessage); ok {
			arg = string(object)
			if object == nil {
				arg = nil
			}
		}
		marks[i] = fmt.Sprintf("$%d", i+1)
		args = append(args, arg)
	}
	sql := "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE hot(" + strings.Join(marks, ", ") + ")"
	var text string
	if err := conn.QueryRow(tb.Context(), sql, args...).Scan(&text); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		tb.Fatal(err)
	}
	return plans[0].Plan, text
}

// problems says what in a plan is not as it must be.
func (q hotQuery) problems(root planNode) []string {
	var problems []string
	used := make(map[string]bool)
	var walk func(planNode)
	walk = func(node planNode) {
		used[node.Index] = true
		if node.Type == "Seq Scan" && slices.Contains(bigTables, node.Relation) && node.Loops > 0 {
			problems = append(problems, "reads all of "+node.Relation)
		}
		for _, child := range node.Plans {
			if rows := int(child.Rows * child.Loops); strings.HasSuffix(node.Type, "Sort") && rows > q.sorted {
				problems = append(problems, fmt.Sprintf("puts %d rows in order, more than %d", rows, q.sorted))
			}
			walk(child)
		}
	}
	walk(root)
	for _, index := range q.indexes {
		if !used[index] {
			problems = append(problems, "does not use "+index)
		}
	}
	if pages := root.Hit + root.Read; pages > q.pages {
		problems = append(problems, fmt.Sprintf("reads %d pages, more than %d", pages, q.pages))
	}
	return problems
}
