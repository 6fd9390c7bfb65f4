package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// supabaseRoles are the roles of Supabase's API, as a project has them, with its default privileges: whatever the owner
// makes in the schema public is theirs. The owner of the tables, postgres there, is no superuser.
const supabaseRoles = `
CREATE ROLE anon NOLOGIN NOINHERIT;
CREATE ROLE authenticated NOLOGIN NOINHERIT;
CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;`

const supabaseDatabase = `
CREATE SCHEMA extensions AUTHORIZATION project;
GRANT ALL ON SCHEMA public TO project;
GRANT CREATE ON DATABASE %s TO project;
SET ROLE project;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
RESET ROLE;
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;`

// lints are the rules of Supabase's database linter that a schema alone decides, each as a query for what breaks it. Where
// the linter speaks of relations that its API exposes, these look at all; of levels, INFO counts as well.
var lints = map[string]string{
	"unindexed_foreign_keys": `SELECT o.conname FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
		WHERE o.contype = 'f' AND c.relnamespace = 'public'::regnamespace AND NOT EXISTS (
			SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
			  AND (string_to_array(i.indkey::text, ' ')::smallint[])[1:cardinality(o.conkey)] = o.conkey)`,
	"auth_rls_initplan": `SELECT format('%s on %s', policyname, tablename) FROM pg_policies, concat_ws(' ', qual, with_check) AS text
		WHERE cardinality(string_to_array(text, 'current_setting(')) <> cardinality(string_to_array(text, '( SELECT current_setting('))
		OR text LIKE '%auth.%'`,
	"no_primary_key": `SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
		AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)`,
	"multiple_permissive_policies": `SELECT format('%s %s %s', p.polrelid::regclass, r.rolname, command)
		FROM pg_policy p JOIN pg_roles r ON p.polroles @> ARRAY[r.oid] OR p.polroles @> ARRAY[0::oid]
		CROSS JOIN unnest(CASE p.polcmd WHEN '*' THEN ARRAY['r', 'a', 'w', 'd'] ELSE ARRAY[p.polcmd::text] END) AS command
		WHERE p.polpermissive AND NOT r.rolbypassrls GROUP BY p.polrelid, r.rolname, command HAVING count(*) > 1`,
	"policy_exists_rls_disabled": `SELECT c.relname FROM pg_class c WHERE NOT c.relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)`,
	"rls_enabled_no_policy":      `SELECT c.relname FROM pg_class c WHERE c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)`,
	"duplicate_index": `SELECT string_agg(indexname, ', ') FROM pg_indexes WHERE schemaname = 'public'
		GROUP BY tablename, replace(indexdef, indexname, '') HAVING count(*) > 1`,
	"security_definer_view": `SELECT c.relname FROM pg_class c WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace
		AND NOT coalesce(c.reloptions, '{}') && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1', 'security_invoker=yes']`,
	"function_search_path_mutable": `SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
		AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%')`,
	"rls_disabled_in_public": `SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND NOT c.relrowsecurity`,
	"extension_in_public":    `SELECT extname FROM pg_extension WHERE extnamespace = 'public'::regnamespace`,
	"materialized_view_in_api, foreign_table_in_api": `SELECT c.relname FROM pg_class c WHERE c.relkind IN ('m', 'f')
		AND c.relnamespace = 'public'::regnamespace`,
	"unsupported_reg_types": `SELECT attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
		WHERE c.relnamespace = 'public'::regnamespace AND attnum > 0 AND format_type(atttypid, NULL) LIKE 'reg%'`,
	// The linter leaves out policies for roles that are not those of the API; none of ours needs that.
	"rls_policy_always_true": `SELECT format('%s on %s', policyname, tablename) FROM pg_policies
		WHERE cmd <> 'SELECT' AND (btrim(coalesce(qual, ''), '( )') IN ('true', '1 = 1') OR btrim(coalesce(with_check, ''), '( )') IN ('true', '1 = 1')
			OR qual IS NULL AND with_check IS NULL)`,
	"rls_policy_null_auth_disjunct":        `SELECT format('%s on %s', policyname, tablename) FROM pg_policies WHERE qual ~* 'current_setting\([^)]*\)[^)]*\) IS NULL'`,
	"security_definer_function_executable": `SELECT p.proname FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace`,
	"invalid_index":                        `SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid`,
	"autovacuum_disabled":                  `SELECT c.relname FROM pg_class c WHERE 'autovacuum_enabled=false' = ANY (c.reloptions)`,
}

// apiLints are those that need the roles of the API.
var apiLints = map[string]string{
	"pg_graphql_anon_table_exposed, pg_graphql_authenticated_table_exposed": `SELECT format('%s %s', r.rolname, c.relname)
		FROM pg_class c, pg_roles r WHERE r.rolname IN ('anon', 'authenticated') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		AND c.relnamespace = 'public'::regnamespace AND has_any_column_privilege(r.oid, c.oid, 'SELECT')`,
	"sequences": `SELECT format('%s %s', r.rolname, c.relname) FROM pg_class c, pg_roles r
		WHERE r.rolname IN ('anon', 'authenticated') AND c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace
		AND has_sequence_privilege(r.oid, c.oid, 'USAGE, SELECT, UPDATE')`,
}

// lint fails for what breaks a rule.
func lint(t *testing.T, conn *pgx.Conn, lints map[string]string) {
	t.Helper()
	for name, sql := range lints {
		if name == "security_definer_view" && ask[int](t, conn, "SELECT current_setting('server_version_num')::integer") < 150000 {
			continue // views cannot give up the rights of their owner
		}
		found := ask[[]string](t, conn, "SELECT coalesce(array_agg(found), '{}') FROM ("+sql+") AS lint (found)")
		if len(found) > 0 {
			t.Errorf("%s: %q", name, found)
		}
	}
}

// breaches make each rule fail that the schema passes, so that a rule which finds nothing is known to look.
var breaches = map[string]string{
	"unindexed_foreign_keys":                         "CREATE TABLE broken (id int PRIMARY KEY, session text REFERENCES sessions (id))",
	"auth_rls_initplan":                              "CREATE POLICY broken ON messages FOR DELETE USING (sender = current_setting('x', true))",
	"no_primary_key":                                 "CREATE TABLE broken (id int)",
	"multiple_permissive_policies":                   "CREATE POLICY broken ON messages USING (id = 1); CREATE POLICY broken2 ON messages FOR DELETE USING (id = 2)",
	"policy_exists_rls_disabled":                     "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
	"rls_enabled_no_policy":                          "CREATE TABLE broken (id int PRIMARY KEY); ALTER TABLE broken ENABLE ROW LEVEL SECURITY",
	"duplicate_index":                                "CREATE INDEX broken ON sessions (updated_at)",
	"security_definer_view":                          "CREATE VIEW broken AS SELECT * FROM messages",
	"function_search_path_mutable":                   "CREATE FUNCTION broken() RETURNS int LANGUAGE sql AS 'SELECT 1'",
	"rls_disabled_in_public":                         "ALTER TABLE schema_migrations DISABLE ROW LEVEL SECURITY",
	"extension_in_public":                            "CREATE EXTENSION pg_trgm",
	"unsupported_reg_types":                          "CREATE TABLE broken (id regproc PRIMARY KEY)",
	"rls_policy_always_true":                         "CREATE POLICY broken ON messages FOR UPDATE USING (true)",
	"rls_policy_null_auth_disjunct":                  "CREATE POLICY broken ON messages FOR SELECT USING ((SELECT current_setting('x', true)) IS NULL OR id = 1)",
	"materialized_view_in_api, foreign_table_in_api": "CREATE MATERIALIZED VIEW broken AS SELECT 1 AS one",
	"security_definer_function_executable":           "CREATE FUNCTION broken() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
	"invalid_index":                                  "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_sessions_updated_at'::regclass",
	"autovacuum_disabled":                            "ALTER TABLE messages SET (autovacuum_enabled = false)",
}

// The linter has nothing to say where the roles of the API are missing, with and without the roles of access.
func TestLinterWithoutAPIRoles(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	conn := connect(t, config)
	lint(t, conn, lints)
	storetest.Service(t, config)
	lint(t, conn, lints)
	for name := range lints {
		if breaches[name] == "" {
			t.Errorf("nothing is known to break %s", name)
			continue
		}
		exec1(t, conn, "BEGIN; "+breaches[name])
		if ask[bool](t, conn, "SELECT NOT EXISTS ("+lints[name]+")") {
			t.Errorf("%s finds nothing wrong after %s", name, breaches[name])
		}
		exec1(t, conn, "ROLLBACK")
	}
}

// In a project of Supabase, whose roles may do all by default, the linter has nothing to say either, and the roles of the
// API see and change nothing. The tables belong to a role that is no superuser, which migrates, grants and uses them.
func TestSupabase(t *testing.T) {
	t.Parallel()
	server, err := postgres.Start(t.Context(), postgres.Options{}) // roles belong to the whole server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	super := connect(t, store.Config{URL: server.URL("postgres")})
	for _, sql := range []string{
		supabaseRoles, "CREATE ROLE project LOGIN CREATEROLE", "GRANT anon, authenticated TO project",
		"CREATE ROLE app LOGIN", "CREATE DATABASE project",
	} {
		exec1(t, super, sql)
	}
	super = connect(t, store.Config{URL: server.URL("project")})
	exec1(t, super, fmt.Sprintf(supabaseDatabase, "project"))

	config := store.Config{URL: strings.Replace(server.URL("project"), "postgres@", "project@", 1), MinConnections: -1}
	ctx, m := storetest.Open(t, config)
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
	session := newSession(ctx, t, m)
	if _, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "public"}); err != nil {
		t.Fatal(err)
	}
	owner := connect(t, config)
	check := func() {
		t.Helper()
		lint(t, super, lints)
		lint(t, super, apiLints)
		apiRolesSeeNothing(t, owner)
	}
	check()
	if err := grant(t, config, store.AccessRoles{Service: "app"}); err != nil {
		t.Fatal(err)
	}
	migrator := openMigrator(t, config)
	if err := migrator.BuildSearchIndex(ctx); err != nil {
		t.Fatal(err)
	}
	check()

	// The rights by default, given back by hand, open nothing but TRUNCATE, which row-level security does not cover.
	exec1(t, owner, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anon, authenticated")
	exec1(t, owner, "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO anon, authenticated")
	apiRolesSeeNothing(t, owner)

	config.URL, config.DirectURL = strings.Replace(config.URL, "project@", "app@", 1), config.URL
	ctx, app := storetest.Open(t, config)
	if err := app.InitializeDatabase(ctx); err != nil {
		t.Error(err)
	}
	if _, err := app.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "of the service"}); err != nil {
		t.Error(err)
	}
	if n := count(store.AsReader(ctx, alice), t, "SELECT count(*) FROM messages"); n != 2 {
		t.Errorf("alice sees %d messages, want 2", n)
	}
}

// apiRolesSeeNothing fails for each row that the roles of the API see or change.
func apiRolesSeeNothing(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	relations := ask[[]string](t, conn, `SELECT array_agg(relname::text) FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')`)
	if !slices.Contains(relations, "secure_tokens") || !slices.Contains(relations, "audit_activity_summary") {
		t.Fatalf("relations %q", relations)
	}
	var statements []string
	for _, relation := range relations {
		statements = append(statements, "SELECT * FROM "+relation, "DELETE FROM "+relation)
	}
	statements = append(statements,
		"UPDATE messages SET content = 'x'", "UPDATE sessions SET purpose = 'x'",
		"INSERT INTO sessions (id, purpose, created_by) VALUES ('s', 'x', 'x')",
		"INSERT INTO audit_log (event_type, agent_id) VALUES ('x', 'x')", "INSERT INTO schema_version (version) VALUES (99)",
		"TRUNCATE messages CASCADE", "TRUNCATE audit_log")
	for _, role := range []string{"anon", "authenticated"} {
		for _, statement := range statements {
			exec1(t, conn, "BEGIN")
			exec1(t, conn, "SET LOCAL ROLE "+role)
			exec1(t, conn, "SELECT set_config('sharedcontext.agent_id', 'alice', true), set_config('sharedcontext.admin', 'true', true)")
			tag, err := conn.Exec(t.Context(), statement)
			var pgErr *pgconn.PgError
			switch {
			case err == nil && tag.RowsAffected() == 0:
			case errors.As(err, &pgErr) && (pgErr.Code == "42501" || pgErr.Code == "55000"): // or a view that nobody can write to
			default:
				t.Errorf("%s: %s: %v, %v", role, statement, tag, err)
			}
			exec1(t, conn, "ROLLBACK")
		}
		if ask[bool](t, conn, "SELECT EXISTS (SELECT FROM pg_roles r WHERE r.rolname <> $1 AND pg_has_role($1, r.oid, 'MEMBER'))", role) {
			t.Errorf("%s may become another role", role)
		}
	}
}
