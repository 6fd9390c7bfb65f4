package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func grant(tb testing.TB, config store.Config, roles store.AccessRoles) error {
	tb.Helper()
	migrator, err := store.OpenMigrator(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := migrator.Close(); err != nil {
			tb.Error(err)
		}
	}()
	return migrator.GrantAccess(tb.Context(), roles)
}

// ownRoles names roles for this test alone, and drops them after it; its database must be there to the end.
func ownRoles(tb testing.TB, conn *pgx.Conn) store.AccessRoles {
	tb.Helper()
	name := ask[string](tb, conn, "SELECT current_database()")
	roles := store.AccessRoles{Service: name + ` "ser'vice\`, Reader: name + ` re"ader`}
	tb.Cleanup(func() {
		for _, role := range []string{roles.Service, roles.Reader} {
			quoted := pgx.Identifier{role}.Sanitize()
			_, _ = conn.Exec(context.Background(), "DROP OWNED BY "+quoted)
			if _, err := conn.Exec(context.Background(), "DROP ROLE IF EXISTS "+quoted); err != nil {
				tb.Error(err)
			}
		}
	})
	return roles
}

// accessCatalog describes rights and policies in the current schema, one to a line.
func accessCatalog(tb testing.TB, conn *pgx.Conn) []string {
	tb.Helper()
	return ask[[]string](tb, conn, `
		WITH found (line) AS (
			SELECT format('%s %s %s', c.relname, a.grantee::regrole, a.privilege_type)
			FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = current_schema()::regnamespace
			UNION ALL
			SELECT format('%s.%s %s %s', attrelid::regclass, attname, a.grantee::regrole, a.privilege_type)
			FROM pg_attribute, aclexplode(attacl) a
			UNION ALL
			SELECT format('policy %s on %s for %s to %s using %s check %s', policyname, tablename, cmd, roles, qual, with_check)
			FROM pg_policies WHERE schemaname = current_schema()
			UNION ALL
			SELECT format('member %s of %s', member::regrole, roleid::regrole)
			FROM pg_auth_members WHERE roleid::regrole::text LIKE '%' || current_database() || '%'
		)
		SELECT coalesce(array_agg(line ORDER BY line COLLATE "C"), '{}') FROM found`)
}

// Granting again changes nothing, and what was granted by hand beyond it goes.
func TestGrantAccessIsRepeatable(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	conn := connect(t, config)
	roles := ownRoles(t, conn)
	if err := grant(t, config, roles); err != nil {
		t.Fatal(err)
	}
	want := accessCatalog(t, conn)
	if !slices.ContainsFunc(want, func(line string) bool { return strings.HasPrefix(line, "member ") }) {
		t.Errorf("the service is no member of the reader: %q", want)
	}
	exec1(t, conn, fmt.Sprintf("GRANT ALL ON audit_log, messages TO %s", pgx.Identifier{roles.Service}.Sanitize()))
	exec1(t, conn, fmt.Sprintf("GRANT UPDATE (content) ON messages TO %s", pgx.Identifier{roles.Reader}.Sanitize()))
	if err := grant(t, config, roles); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, accessCatalog(t, conn)); diff != "" {
		t.Errorf("granted again (-first +second):\n%s", diff)
	}
}

// Of processes and databases that grant the same roles at once, all succeed.
func TestGrantAccessAtOnce(t *testing.T) {
	t.Parallel()
	first, second := storetest.OwnerConfig(t), storetest.OwnerConfig(t)
	conn, other := connect(t, first), connect(t, second)
	roles := ownRoles(t, conn)
	t.Cleanup(func() {
		for _, role := range []string{roles.Service, roles.Reader} {
			_, _ = other.Exec(context.Background(), "DROP OWNED BY "+pgx.Identifier{role}.Sanitize())
		}
	})
	var granting sync.WaitGroup
	for i := range 8 {
		config := []store.Config{first, second}[i%2]
		granting.Go(func() {
			if err := grant(t, config, roles); err != nil {
				t.Error(err)
			}
		})
	}
	granting.Wait()
	if diff := cmp.Diff(accessCatalog(t, conn), accessCatalog(t, other)); diff != "" &&
		!strings.Contains(diff, "member") { // which only the first database names
		t.Errorf("the two databases differ:\n%s", diff)
	}
}

// A table that is in use is waited for, given up after the lock_timeout so that others get their turn, and tried again.
func TestGrantAccessToBusyTable(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for the lock_timeout")
	}
	config := storetest.OwnerConfig(t)
	conn := connect(t, config)
	roles := ownRoles(t, conn)
	reader, err := connect(t, config).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), "SELECT FROM messages"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- grant(t, config, roles) }()
	seen := ""
	for range 2 {
		eventually(t, patience, "the grant waits, again", func() bool {
			now := waiter(t, conn)
			if now == "" || now == seen {
				return false
			}
			seen = now
			return true
		})
	}
	if err := reader.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGrantAccessRefusals(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	conn := connect(t, config)
	for _, test := range []struct {
		roles store.AccessRoles
		field string
	}{
		{store.AccessRoles{Service: "none"}, "service"},
		{store.AccessRoles{Service: "pg_monitor"}, "service"},
		{store.AccessRoles{Service: strings.Repeat("x", 51)}, "service"},
		{store.AccessRoles{Service: "a\nb"}, "service"},
		{store.AccessRoles{Service: invalidUTF8}, "service"},
		{store.AccessRoles{Service: "$access$"}, "service"},
		{store.AccessRoles{Reader: "public"}, "reader"},
		{store.AccessRoles{Service: "same", Reader: "same"}, "reader"},
	} {
		wantInvalid(t, grant(t, config, test.roles), test.field)
		_, err := test.roles.SQL()
		wantInvalid(t, err, test.field)
	}
	roles := ownRoles(t, conn)
	owner := ask[string](t, conn, "SELECT current_user")
	wantSchemaError(t, grant(t, config, store.AccessRoles{Service: owner, Reader: roles.Reader}), "the role "+owner, "name a role of its own")

	migrator := openMigrator(t, config)
	migrateTo(t, migrator, latest-1)
	wantSchemaError(t, migrator.GrantAccess(t.Context(), roles), "migrate up")
}

// Who does not own the tables cannot grant, and is told what it takes.
func TestGrantAccessByAnother(t *testing.T) {
	t.Parallel()
	service := storetest.Service(t, storetest.Config(t))
	roles := ownRoles(t, connect(t, service))
	service = withoutOwner(t, service)
	migrator, err := store.OpenMigrator(t.Context(), service)
	if err == nil {
		err = errors.Join(migrator.GrantAccess(t.Context(), roles), migrator.Close())
	}
	wantSchemaError(t, err, "permission denied", "DIRECT_DATABASE_URL")
	wantError(t, err, store.ErrPermission)
}

// withoutOwner leads the configuration of a service to the server itself, without the address of the owner.
func withoutOwner(tb testing.TB, config store.Config) store.Config {
	tb.Helper()
	service, err := url.Parse(config.URL)
	if err != nil {
		tb.Fatal(err)
	}
	address, err := url.Parse(config.DirectURL)
	if err != nil {
		tb.Fatal(err)
	}
	address.User = service.User
	config.URL, config.DirectURL = address.String(), ""
	return config
}

// The script may be run by hand as a whole, before the migration that brings row-level security as well: with it, no service
// is shut out.
func TestAccessSQL(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	conn := connect(t, config)
	roles := ownRoles(t, conn)
	if err := grant(t, config, roles); err != nil {
		t.Fatal(err)
	}
	want := accessCatalog(t, conn)
	migrator := openMigrator(t, config)
	migrateTo(t, migrator, rowSecurity-1)
	exec1(t, conn, "DROP OWNED BY "+pgx.Identifier{roles.Service}.Sanitize()+", "+pgx.Identifier{roles.Reader}.Sanitize())
	script, err := roles.SQL()
	if err != nil {
		t.Fatal(err)
	}
	exec1(t, conn, script)
	if err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, accessCatalog(t, conn)); diff != "" {
		t.Errorf("granted before the migration (-after +before):\n%s", diff)
	}
}

// rowSecurity is the migration that brings row-level security.
const rowSecurity = 32

// A service does all that the operations do; what it has no right to is refused with a hint, and changes nothing.
func TestServiceRights(t *testing.T) {
	t.Parallel()
	ctx, f, config := setupService(t)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "x"})
	if err := f.InitializeDatabase(ctx); err != nil {
		t.Error(err)
	}
	if status := store.HealthCheck(ctx); !status.Healthy() {
		t.Errorf("health check: %+v", status)
	}
	if report, err := f.SealAudit(ctx); err != nil || report.Rows == 0 {
		t.Errorf("seal: %+v, %v", report, err)
	}
	if report, err := f.VerifyAudit(ctx); err != nil || len(report.Problems) > 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}

	for _, sql := range []string{
		"UPDATE audit_log SET agent_id = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log",
		"UPDATE audit_seal SET digest = '\\x00'", "DELETE FROM audit_seal", "DELETE FROM audit_seal_horizon",
		"UPDATE messages SET content = 'x'", "DELETE FROM messages", "TRUNCATE messages CASCADE",
		"UPDATE sessions SET id = 'x'", "UPDATE agent_memory SET agent_id = 'x'", "UPDATE secure_tokens SET agent_id = 'x'",
		"DELETE FROM message_keys", "UPDATE message_keys SET message_id = 1",
		"INSERT INTO schema_version (version) VALUES (99)", "UPDATE schema_migrations SET dirty = true", "DELETE FROM schema_version",
		"ALTER TABLE messages ADD COLUMN x int", "ALTER TABLE messages DISABLE ROW LEVEL SECURITY", "DROP POLICY readers_remove_nothing ON messages",
		"DROP TABLE sessions CASCADE", "CREATE INDEX ON messages (content)", "ALTER TABLE audit_log DISABLE TRIGGER ALL",
		"SELECT setval('audit_log_id_seq', 1)",
	} {
		_, err := store.ExecuteUpdate(ctx, sql)
		if !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), "access check") {
			t.Errorf("%s: got error %v, want ErrPermission with a hint", sql, err)
		}
	}
	conn := connect(t, config)
	if n := ask[int](t, conn, "SELECT count(*) FROM audit_log WHERE event_type IN ('session_created', 'message_added')"); n != 2 {
		t.Errorf("%d audit rows are left, want 2", n)
	}

	migrator := openMigrator(t, config)
	migrateTo(t, migrator, latest-1)
	if err := migrator.Close(); err != nil { // and its lock
		t.Fatal(err)
	}
	config = withoutOwner(t, config)
	ctx, alone := storetest.Open(t, config)
	err := alone.InitializeDatabase(ctx)
	wantError(t, err, store.ErrPermission)
	wantSchemaError(t, err, "DIRECT_DATABASE_URL")
}

// The cleanup of a service deletes what has expired but for audit rows, which is for the owner, and says so.
func TestServiceCleanup(t *testing.T) {
	t.Parallel()
	ctx, f, config := setupService(t)
	past := time.Now().Add(-2 * time.Hour)
	if _, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "k", Value: "v", TTL: time.Hour, Now: &past}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, config)
	exec1(t, conn, "INSERT INTO audit_log (event_type, agent_id, timestamp) VALUES ('old', 'a', now() - interval '31 days')")
	exec1(t, conn, "INSERT INTO sessions (id, purpose, created_by, is_active, updated_at) VALUES ('session_00000000000000aa', 'x', 'a', false, now() - interval '8 days')")
	exec1(t, conn, "INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at) VALUES ('t', '\\x00', 'a', now() - interval '30 days')")
	report, err := f.Cleanup(ctx)
	wantError(t, err, store.ErrPermission)
	if !strings.Contains(err.Error(), "the cleanup of the audit log need the owner") {
		t.Errorf("the error has no hint: %v", err)
	}
	want := store.CleanupReport{CleanupStats: store.CleanupStats{ExpiredMemory: 1}, InactiveSessions: 1, ExpiredTokens: 1}
	if report != want {
		t.Errorf("report %+v, want %+v", report, want)
	}
	_, err = store.CleanupExpiredData(ctx)
	wantError(t, err, store.ErrPermission)
	if n := ask[int](t, conn, "SELECT count(*) FROM audit_log WHERE event_type = 'old'"); n != 1 {
		t.Error("the audit row is gone")
	}

	config.URL = config.DirectURL
	ctx, owner := storetest.Open(t, config)
	if report, err = owner.Cleanup(ctx); err != nil || report.OldAuditLogs != 1 {
		t.Errorf("of the owner: %+v, %v", report, err)
	}
}

// A role that has rights on the tables and no policy would see empty tables. It is told instead.
func TestShutOutRole(t *testing.T) {
	t.Parallel()
	service := storetest.Service(t, storetest.Config(t))
	conn := connect(t, service)
	for _, policy := range ask[[]string](t, conn, "SELECT array_agg(format('%I ON %I', policyname, tablename)) FROM pg_policies WHERE permissive = 'PERMISSIVE'") {
		exec1(t, conn, "DROP POLICY "+policy)
	}
	ctx, m := storetest.Open(t, service)
	err := m.InitializeDatabase(ctx)
	wantError(t, err, store.ErrPermission)
	status := store.HealthCheck(ctx)
	for _, text := range []string{err.Error(), status.Error} {
		if !strings.Contains(text, "row-level security") || !strings.Contains(text, "access grant") {
			t.Errorf("got %q", text)
		}
	}
	report, err := m.CheckAccess(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if report.Operations[1].Allowed || !slices.Contains(report.Operations[1].Missing, "a policy for INSERT on messages") {
		t.Errorf("report %+v", report)
	}
}

func TestCheckAccess(t *testing.T) {
	t.Parallel()
	config := storetest.Service(t, storetest.Config(t))
	check := func(config store.Config) store.AccessReport {
		t.Helper()
		ctx, m := storetest.Open(t, config)
		report, err := m.CheckAccess(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	allowed := func(name string) store.AccessOperation {
		return store.AccessOperation{Name: name, Allowed: true, Missing: []string{}}
	}
	want := store.AccessReport{
		Role: strings.TrimSuffix(config.ReaderRole, "reader") + "service", RowSecurity: true, ReaderRole: config.ReaderRole, Excess: []string{},
		Operations: []store.AccessOperation{
			allowed("sessions"), allowed("messages"), allowed("memory"), allowed("tokens"), allowed("audit log"), allowed("seal audit log"),
			{Name: "clean up audit log", Missing: []string{"DELETE on audit_log", "UPDATE on audit_seal"}},
			allowed("read as an agent"),
			{Name: "migrate", Missing: []string{"to own the tables", "CREATE on the schema"}},
		},
	}
	conn := connect(t, config)
	if ask[bool](t, conn, "SELECT has_schema_privilege($1, current_schema(), 'CREATE')", want.Role) { // before PostgreSQL 15
		want.Operations[8].Missing = want.Operations[8].Missing[:1]
	}
	if diff := cmp.Diff(want, check(config)); diff != "" {
		t.Errorf("of the service (-want +got):\n%s", diff)
	}

	role := pgx.Identifier{want.Role}.Sanitize()
	exec1(t, conn, "GRANT UPDATE (content), TRUNCATE ON messages TO "+role)
	exec1(t, conn, "REVOKE INSERT ON agent_memory FROM "+role)
	exec1(t, conn, "REVOKE "+pgx.Identifier{config.ReaderRole}.Sanitize()+" FROM "+role)
	exec1(t, conn, "ALTER TABLE sessions DISABLE ROW LEVEL SECURITY")
	want.Excess = []string{"UPDATE (content) on messages", "TRUNCATE on messages"}
	want.Operations[2] = store.AccessOperation{Name: "memory", Missing: []string{"INSERT on agent_memory"}}
	want.RowSecurity = false
	want.Operations[7] = store.AccessOperation{Name: "read as an agent", Missing: []string{
		"membership in the role " + config.ReaderRole, "row-level security on every table",
	}}
	if diff := cmp.Diff(want, check(config)); diff != "" {
		t.Errorf("after changes by hand (-want +got):\n%s", diff)
	}

	config.URL = config.DirectURL
	owner := check(config)
	if !owner.Owner || len(owner.Excess) > 0 || owner.Role == want.Role {
		t.Errorf("of the owner: %+v", owner)
	}
	for _, operation := range owner.Operations {
		if !operation.Allowed && operation.Name != "read as an agent" { // row-level security is off for a table
			t.Errorf("the owner: %+v", operation)
		}
	}
}

// A policy without the role that it names, or rights without row-level security, would go unnoticed in an upgrade: the list
// of rights covers every table of the schema.
func TestRightsCoverEveryTable(t *testing.T) {
	t.Parallel()
	config := storetest.Service(t, storetest.Config(t))
	conn := connect(t, config)
	got := ask[[]string](t, conn, `SELECT coalesce(array_agg(c.relname::text), '{}')
		FROM pg_class c
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
		  AND (NOT c.relrowsecurity OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive)
		       OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive))`)
	if len(got) > 0 {
		t.Errorf("tables without row-level security, a policy for services or readers_remove_nothing: %q; "+
			"give each all of it in its migration and in store/access_rights.go", got)
	}
}

// Row-level security is part of a complete schema.
func TestRowSecurityIsChecked(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	ctx, m := storetest.Open(t, config)
	if _, err := store.ExecuteUpdate(ctx, "ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY"); err != nil {
		t.Fatal(err)
	}
	wantSchemaError(t, m.InitializeDatabase(ctx), "row security on audit_log")
}

// An error of the server keeps its code.
func TestPermissionErrorKeepsCause(t *testing.T) {
	t.Parallel()
	ctx, _, _ := setupService(t)
	_, err := store.ExecuteUpdate(ctx, "DELETE FROM audit_log")
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Errorf("got %v", err)
	}
}
