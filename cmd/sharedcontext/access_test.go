package main

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestAccess(t *testing.T) {
	config := storetest.Config(t)
	address, err := url.Parse(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	// These are the names of the roles that are dropped with the database.
	database := strings.TrimPrefix(address.Path, "/")
	service, reader := database+"_service", database+"_reader"
	flags := []string{"--service-role", service}
	withDatabase(t, config.URL)
	t.Setenv("DATABASE_READER_ROLE", reader)

	call(t, "access", "check").want(t, exitOK, "nothing: it", "")
	for range 2 {
		call(t, append([]string{"access", "grant"}, flags...)...).want(t, exitOK, "access granted", "")
	}
	r := call(t, append([]string{"access", "sql"}, flags...)...)
	r.want(t, exitOK, `CREATE ROLE "`+service+`" NOLOGIN;`, "")
	conn, err := pgx.Connect(t.Context(), config.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, sql := range []string{r.out, "ALTER ROLE " + pgx.Identifier{service}.Sanitize() + " LOGIN"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	address.User = url.User(service)
	t.Setenv("DATABASE_URL", address.String())
	r = call(t, "access", "check")
	for _, line := range []string{
		"role                " + service + "\n", "row-level security  on\n", "messages            may\n", "read as an agent    may\n",
		"clean up audit log  may not, for lack of DELETE on audit_log, UPDATE on audit_seal\n",
	} {
		r.want(t, exitOK, line, "")
	}
	if strings.Contains(r.out, "needs not") {
		t.Errorf("it has rights that it does not need:\n%s", r.out)
	}
	if _, err := conn.Exec(t.Context(), "GRANT TRUNCATE ON audit_log TO "+pgx.Identifier{service}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	call(t, "access", "check").want(t, exitOK, "needs not           TRUNCATE on audit_log\n", "")
	r = call(t, "access", "check", "--json")
	r.want(t, exitOK, "", "")
	var report store.AccessReport
	r.decode(t, &report)
	if report.Role != service || report.ReaderRole != reader || !slices.Equal(report.Excess, []string{"TRUNCATE on audit_log"}) || len(report.Operations) != 9 {
		t.Errorf("report %+v", report)
	}
	call(t, append([]string{"access", "grant"}, flags...)...).want(t, exitFailure, "", "DIRECT_DATABASE_URL")
	call(t, "cleanup").want(t, exitFailure, "", "the cleanup of the audit log need the owner")
	call(t, "health").want(t, exitOK, "status       healthy\n", "")
}

func TestAccessUsage(t *testing.T) {
	withDatabase(t, unreachable)
	call(t, "access").want(t, exitUsage, "", "say grant, sql or check")
	call(t, "access", "sql", "--service-role", "none").want(t, exitUsage, "", "invalid service")
	call(t, "access", "sql").want(t, exitOK, `"sharedcontext_reader"`, "")
	call(t, "access", "sql", "--reader-role", "app reader").want(t, exitOK, `"app reader sees"`, "")
	for _, name := range []string{"grant", "check"} {
		r := call(t, "access", name)
		r.want(t, exitFailure, "", "check that the server runs")
		if strings.Contains(r.out+r.err, "sEcReT") {
			t.Errorf("the password is shown: %s", r.err)
		}
	}
	r := call(t, "access", "grant", "--help")
	r.want(t, exitOK, "Examples:\n  sharedcontext access grant", "")
}
