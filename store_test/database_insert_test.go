package store_test

import (
	"context"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

//
//nolint:tparallel // the cases share one database
func TestExecuteInsert(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	type params = []any
	const (
		newID  = -1 // the id that the row with the highest one has
		noID   = 0
		audit  = "INSERT INTO audit_log (event_type, agent_id) "
		values = audit + "VALUES (?, ?)"
	)
	two := params{"event", "agent"}
	cases := map[string]struct {
		sql    string
		params params
		want   int64
	}{
		"plain":                      {values, two, newID},
		"numbered":                   {audit + "VALUES ($2, $1)", two, newID},
		"semicolon":                  {values + ";", two, newID},
		"semicolon and blanks":       {values + " ; \n", two, newID},
		"line comment":               {values + " -- returning id?", two, newID},
		"semicolon and comment":      {values + "; -- done", two, newID},
		"block comment":              {values + " /* RETURNING */ ; /* ; */", two, newID},
		"comment before":             {"-- ?\n/* ; */ " + values, two, newID},
		"RETURNING":                  {values + " RETURNING id", two, newID},
		"RETURNING in lower case":    {values + "\nreturning id;", two, newID},
		"RETURNING more":             {values + " RETURNING event_type, id, timestamp", two, newID},
		"RETURNING another column":   {values + " RETURNING event_type", two, noID},
		"RETURNING another name":     {values + " RETURNING id AS number", two, noID},
		"RETURNING a small id":       {values + " RETURNING 7::smallint AS id", two, 7},
		"RETURNING an int id":        {values + " RETURNING 70000 AS id", two, 70000},
		"RETURNING a text id":        {values + " RETURNING 'seven' AS id", two, noID},
		"RETURNING NULL":             {values + " RETURNING NULL::bigint AS id", two, noID},
		"returning in a string":      {audit + "VALUES ('returning', ?)", params{"agent"}, newID},
		"returning in a quoted name": {`INSERT INTO "returning" AS "RETURNING" (n) VALUES (?)`, params{1}, newID},
		"returning in dollar quotes": {audit + "VALUES ($$ returning $$, ?)", params{"agent"}, newID},
		"RETURNING in a CTE only": {
			"WITH one AS (" + values + " RETURNING id) " + audit + "SELECT 'second', id::text FROM one", two, newID,
		},
		"SELECT from a CTE":         {"WITH one AS (" + values + " RETURNING id) SELECT id FROM one;", two, newID},
		"INSERT in parentheses":     {"with data (a, b) as (values (?, ?)) " + audit + "(SELECT a, b FROM data)", two, newID},
		"INSERT SELECT":             {audit + "SELECT ?, ? WHERE true", two, newID},
		"INSERT SELECT of nothing":  {audit + "SELECT ?, ? WHERE false", two, noID},
		"several rows":              {audit + "VALUES (?, ?), ('last', 'agent')", two, newID},
		"ON CONFLICT DO NOTHING":    {"INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at) VALUES (?, '', ?, now()) ON CONFLICT DO NOTHING", params{"token", "agent"}, noID},
		"ON CONFLICT DO UPDATE":     {"INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at) VALUES (?, '', ?, now()) ON CONFLICT (token_id) DO UPDATE SET agent_id = excluded.agent_id", params{"token", "agent"}, 1},
		"DEFAULT VALUES":            {"INSERT INTO plain DEFAULT VALUES", nil, newID},
		"a table with a text id":    {"INSERT INTO sessions (id, purpose, created_by) VALUES (?, ?, ?)", params{"session_0123456789abcdef", "p", "c"}, noID},
		"a table without an id":     {"INSERT INTO schema_version (version, description) VALUES (?, ?)", params{99, "test"}, noID},
		"another column named ID":   {`INSERT INTO "ids" ("ID") VALUES (?)`, params{5}, noID},
		"a value that looks like ?": {values, params{"RETURNING ?", "-- ?"}, newID},
	}
	const before = `CREATE TABLE "returning" (id bigserial, n int); CREATE TABLE plain (id serial); CREATE TABLE ids ("ID" int);
		INSERT INTO audit_log (event_type, agent_id) SELECT 'earlier', 'agent' FROM generate_series(1, 40);
		INSERT INTO "returning" (n) SELECT generate_series(1, 50);
		INSERT INTO plain SELECT FROM generate_series(1, 60);
		INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at) VALUES ('token', '', 'earlier', now())`
	highest := map[int64]int64{0: 40, 1: 50, 2: 60}
	config := storetest.Config(t)
	if _, err := connect(t, config).Exec(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	for _, mode := range execModes(config) {
		config.ExecMode = mode
		ctx, m := storetest.Open(t, config)
		for name, c := range cases {
			t.Run(mode.String()+"/"+name, func(t *testing.T) {
				newest := func(ctx context.Context) (ids map[int64]int64) {
					return map[int64]int64{
						0: count(ctx, t, "SELECT max(id) FROM audit_log"),
						1: count(ctx, t, `SELECT max(id) FROM "returning"`),
						2: count(ctx, t, "SELECT max(id)::bigint FROM plain"),
					}
				}
				err := m.InTx(ctx, func(ctx context.Context) error {
					got, err := store.ExecuteInsert(ctx, c.sql, c.params...)
					if err != nil {
						return err
					}
					want := c.want
					if want == newID {
						for table, id := range newest(ctx) {
							if id > highest[table] {
								want = id
							}
						}
					}
					if got != want || got == newID {
						t.Errorf("%s: id %d, want %d", c.sql, got, want)
					}
					return errFailed
				})
				wantError(t, err, errFailed)
				for table, id := range newest(ctx) {
					if id != highest[table] {
						t.Error("the roll-back did not take the row away")
					}
				}
			})
		}
	}
}

// What is inserted by a statement of its own stays.
func TestExecuteInsertStores(t *testing.T) {
	t.Parallel()
	ctx, _ := storetest.New(t)
	for range 2 {
		id, err := store.ExecuteInsert(ctx, "INSERT INTO audit_log (event_type, agent_id) VALUES (?, ?)", "event", "recorder")
		if err != nil {
			t.Fatal(err)
		}
		if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE id = ? AND event_type = ?", id, "event"); n != 1 {
			t.Errorf("%d rows with the id %d, want 1", n, id)
		}
	}
	wantRecords(ctx, t, "event", "event")
}
