package store

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// The roles that [AccessRoles] and [Config] name by default.
const (
	defaultServiceRole = "sharedcontext_service"
	defaultReaderRole  = "sharedcontext_reader"
)

// AccessRoles names the two roles by which others than the owner of the tables use a database.
type AccessRoles struct {
	// Service is the role of services: it may do what the methods of [Manager] do, but for migrations and the cleanup of
	// the audit log, and nothing more. It changes no message, no audit row and no seal, and has no right to DDL or
	// TRUNCATE. Default sharedcontext_service. It may be the login of a service, or a role that logins are granted.
	Service string
	// Reader is the role that a service becomes to read as an agent, see [AsReader] and [Config.ReaderRole]. Default
	// sharedcontext_reader.
	Reader string
}

// maxRoleName leaves room in the 63 bytes of an identifier for the names of policies.
const maxRoleName = 50

// roleNameInput checks the name of a role. none and public are words of their own where roles are named.
func roleNameInput(field, name string) error {
	invalid := func(limit string) error { return &ValidationError{Field: field, Rule: "pattern", Limit: limit} }
	switch {
	case name == "" || len(name) > maxRoleName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(name, "$"):
		return invalid(fmt.Sprintf("the name of a role, 1 to %d bytes without control characters and $", maxRoleName))
	case name == "none" || name == "public" || strings.HasPrefix(name, "pg_"):
		return invalid("the name of a role, none of those that PostgreSQL keeps for itself")
	}
	return nil
}

func (r AccessRoles) validate() (AccessRoles, error) {
	setDefault(&r.Service, defaultServiceRole)
	setDefault(&r.Reader, defaultReaderRole)
	if err := errors.Join(roleNameInput("service", r.Service), roleNameInput("reader", r.Reader)); err != nil {
		return r, err
	}
	if r.Service == r.Reader {
		return r, &ValidationError{Field: "reader", Rule: "pattern", Limit: "another role than that of the service"}
	}
	return r, nil
}

// accessRoles makes the roles, and gives them what is not about a table.
//
//go:embed access_roles.sql
var accessRoles string

// SQL returns what [Migrator.GrantAccess] runs, for an administrator to read and to run by hand, with psql for instance.
// It works on each schema since migration 13, so that it may also be run before row-level security comes, in order that no
// service is shut out in between. The error is a [*ValidationError].
func (r AccessRoles) SQL() (string, error) {
	r, err := r.validate()
	if err != nil {
		return "", err
	}
	quoted := func(name string) string { return pgx.Identifier{name}.Sanitize() }
	fill := strings.NewReplacer("{service}", quoted(r.Service), "{reader}", quoted(r.Reader),
		"{service name}", literal(r.Service), "{reader name}", literal(r.Reader),
		"{service reads}", quoted(r.Service+" reads"), "{service adds}", quoted(r.Service+" adds"),
		"{service changes}", quoted(r.Service+" changes"), "{service removes}", quoted(r.Service+" removes"),
		"{reader sees}", quoted(r.Reader+" sees"))
	var script strings.Builder
	script.WriteString(accessRoles)
	for _, table := range rights {
		table.write(&script)
	}
	return fill.Replace(script.String()), nil
}

// write writes the grants and policies of a table. All that was there of these roles is taken away first, so that a right
// that a later version does not need any more goes.
func (t tableRights) write(script *strings.Builder) {
	fmt.Fprintf(script, "\n-- %s\nBEGIN;\nSET LOCAL lock_timeout = '5s';\nREVOKE ALL ON %s FROM {service}, {reader};\n", t.why, t.table)
	fmt.Fprintf(script, "GRANT SELECT ON %s TO {service};\n", t.table)
	policy := func(name, command, role, condition string) {
		fmt.Fprintf(script, "DROP POLICY IF EXISTS {%s} ON %s;\n", name, t.table)
		if condition != "" {
			fmt.Fprintf(script, "CREATE POLICY {%s} ON %s FOR %s TO {%s} %s;\n", name, t.table, command, role, condition)
		}
	}
	when := func(given bool, grant, condition string) string {
		if !given {
			return ""
		}
		fmt.Fprintf(script, "GRANT %s ON %s TO {service};\n", grant, t.table)
		return condition
	}
	policy("service reads", "SELECT", "service", "USING (true)")
	policy("service adds", "INSERT", "service", when(t.add, "INSERT", "WITH CHECK ("+noReader+")"))
	policy("service changes", "UPDATE", "service",
		when(len(t.columns) > 0, "UPDATE ("+strings.Join(t.columns, ", ")+")", "USING ("+noReader+")"))
	policy("service removes", "DELETE", "service", when(t.remove, "DELETE", "USING ("+noReader+")"))
	if t.sees == "" {
		policy("reader sees", "", "", "")
	} else {
		fmt.Fprintf(script, "GRANT SELECT ON %s TO {reader};\n", t.table)
		policy("reader sees", "SELECT", "reader", "\n    USING ("+t.sees+")")
	}
	script.WriteString("COMMIT;\n")
}

// literal quotes a string constant so that it means the same whatever standard_conforming_strings says.
func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// GrantAccess makes the roles where they are missing, and gives them the rights that [AccessRoles] describes and the
// policies of row-level security, no more and no less. It may be run again, and must be after each migration that adds a
// table; by several processes at once it may be run as well. A role that is there keeps its attributes: one that shall log
// in is made so with ALTER ROLE … LOGIN, or granted to one that does.
//
// It needs the owner of the tables and, where a role is missing, CREATEROLE. Each table is locked for a moment, one after
// the other, and a busy one is tried again for a while.
func (m *Migrator) GrantAccess(ctx context.Context, roles AccessRoles) error {
	const operation = "grant access"
	script, err := roles.SQL()
	if err != nil {
		return err
	}
	status, err := m.Status()
	if err != nil {
		return err
	}
	if status.Version < status.Latest || status.Dirty {
		return schemaError(operation, fmt.Errorf("the database is at migration %d of %d: run \"sharedcontext migrate up\" first", status.Version, status.Latest))
	}
	for paragraph := range strings.SplitSeq(script, "\n\n") {
		for attempt := 1; ; attempt++ {
			_, err := m.lock.ExecContext(ctx, paragraph)
			if err == nil {
				break
			}
			if _, rollback := m.lock.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); rollback != nil && ctx.Err() == nil {
				return schemaError(operation, errors.Join(err, rollback))
			}
			if attempt == migrationAttempts || ctx.Err() != nil || !isBusy(err) && !isGrantedAtOnce(err) {
				return schemaError(operation, err)
			}
		}
	}
	return nil
}

// isGrantedAtOnce reports whether a grant failed because another database of the server granted the same role just then.
func isGrantedAtOnce(err error) bool {
	return hasCode(err, "42710") || hasCode(err, "XX000") && strings.Contains(err.Error(), "concurrently") // duplicate_object; no code of its own
}
