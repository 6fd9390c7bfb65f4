package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Where the role is missing, may not be taken or is not held by row-level security, nothing is read.
func TestAsReaderWithoutRole(t *testing.T) {
	t.Parallel()
	owner := storetest.Config(t)
	service := storetest.Service(t, owner)
	conn := connect(t, service)
	other := service.ReaderRole + "_other"
	exec1(t, conn, "CREATE ROLE "+pgx.Identifier{other}.Sanitize())
	t.Cleanup(func() {
		_, _ = conn.Exec(context.Background(), "DROP ROLE "+pgx.Identifier{other}.Sanitize())
	})
	open := func(config store.Config) context.Context {
		ctx, _ := storetest.Open(t, config)
		return store.AsReader(ctx, alice)
	}
	refused := func(name string, config store.Config, texts ...string) {
		t.Helper()
		scope := open(config)
		called := false
		_, queryErr := store.ExecuteQuery(scope, "SELECT 1")
		connErr := store.GetDBConnection(scope, func(context.Context, *store.Conn) error { called = true; return nil })
		for _, err := range []error{queryErr, connErr} {
			wantError(t, err, store.ErrPermission)
			for _, text := range append(texts, "access grant") {
				if !strings.Contains(fmt.Sprint(err), text) {
					t.Errorf("%s: the error lacks %q: %v", name, text, err)
				}
			}
		}
		if called {
			t.Errorf("%s: the connection is handed out", name)
		}
	}
	config := service
	config.ReaderRole = "nobody_of_this_name"
	refused("no such role", config, `"nobody_of_this_name"`, "does not exist")
	config.ReaderRole = other
	refused("not a member", config, `"`+other+`"`, "permission denied to set role")

	// To the owner, a role that bypasses row-level security must be no reader either.
	config = service
	config.URL = service.DirectURL
	refusedRole := func(attribute string) {
		exec1(t, conn, "ALTER ROLE "+pgx.Identifier{other}.Sanitize()+" "+attribute)
		config.ReaderRole = other
		refused(attribute, config, "row-level security does not hold")
	}
	refusedRole("BYPASSRLS")
	refusedRole("NOBYPASSRLS SUPERUSER")
	exec1(t, conn, "ALTER ROLE "+pgx.Identifier{other}.Sanitize()+" NOSUPERUSER")

	// The owner reads as an agent as a service does, and nobody where row-level security is off.
	config.ReaderRole = service.ReaderRole
	if _, err := store.ExecuteQuery(open(config), "SELECT 1"); err != nil {
		t.Errorf("the owner: %v", err)
	}
	exec1(t, conn, "ALTER TABLE messages DISABLE ROW LEVEL SECURITY")
	refused("switched off", service, "row-level security does not hold")
}

// Without a reader, or with an empty one, the reader's role sees nothing.
func TestReaderRoleWithoutReader(t *testing.T) {
	t.Parallel()
	ctx, f, config := setupService(t)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "x"})
	if _, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "k", Value: "v"}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, config)
	exec1(t, conn, "SET ROLE "+pgx.Identifier{config.ReaderRole}.Sanitize())
	for _, settings := range []string{
		"SELECT 1", "SELECT set_config('sharedcontext.agent_id', '', false)", "SELECT set_config('sharedcontext.admin', 'true', false)",
		"SELECT set_config('sharedcontext.agent_type', 'claude', false)",
	} {
		exec1(t, conn, settings)
		relations := []string{"sessions", "messages", "agent_memory", "audit_log"}
		if viewsAsk(ctx) {
			relations = append(relations, "active_sessions_with_activity", "agent_memory_summary", "audit_activity_summary")
		}
		for _, relation := range relations {
			if n := ask[int](t, conn, "SELECT count(*) FROM "+relation); n != 0 {
				t.Errorf("after %s, %d rows of %s are seen", settings, n, relation)
			}
		}
	}
	exec1(t, conn, "SELECT set_config('sharedcontext.agent_id', 'alice', false)")
	if n := ask[int](t, conn, "SELECT count(*) FROM messages"); n != 1 {
		t.Errorf("alice sees %d messages", n)
	}
}

// Whoever gets the role of the service back while the session names a reader writes nothing.
func TestNoWritesWhileReaderIsNamed(t *testing.T) {
	t.Parallel()
	ctx, f, _ := setupService(t)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "x"})
	err := f.InTx(ctx, func(ctx context.Context) error {
		for _, sql := range []string{
			"INSERT INTO audit_log (event_type, agent_id) VALUES ('x', 'alice')",
			"INSERT INTO sessions (id, purpose, created_by) VALUES ('session_00000000000000ff', 'x', 'alice')",
		} {
			err := f.InTx(ctx, func(ctx context.Context) error {
				if _, err := store.ExecuteQuery(ctx, "SELECT set_config('sharedcontext.agent_id', 'alice', true)"); err != nil {
					return err
				}
				_, err := store.ExecuteUpdate(ctx, sql)
				return err
			})
			wantError(t, err, store.ErrPermission)
		}
		_, err := store.ExecuteQuery(ctx, "SELECT set_config('sharedcontext.agent_id', 'alice', true)")
		if err != nil {
			return err
		}
		for _, sql := range []string{"UPDATE sessions SET is_active = false", "DELETE FROM sessions", "DELETE FROM agent_memory"} {
			if n, err := store.ExecuteUpdate(ctx, sql); n != 0 || err != nil {
				t.Errorf("%s: %d rows, %v", sql, n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "y"}) // with the transaction the reader is gone
}
