package store

import (
	"context"
	"slices"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// AccessReport says what the role of a manager's connections may do.
type AccessReport struct {
	Role string `json:"role"`
	// Owner says that it owns the tables: row-level security does not hold for it, and nothing is kept from it.
	Owner bool `json:"owner"`
	// Superuser and BypassesRowSecurity are attributes of the role by which nothing is kept from it either.
	Superuser           bool `json:"superuser"`
	BypassesRowSecurity bool `json:"bypasses_row_security"`
	// RowSecurity says that row-level security is on for every table.
	RowSecurity bool `json:"row_security"`
	// ReaderRole is [Config.ReaderRole].
	ReaderRole string            `json:"reader_role"`
	Operations []AccessOperation `json:"operations"`
	// Excess are rights that no operation of a service needs, such as "TRUNCATE on messages". Of an owner there are none.
	Excess []string `json:"excess"`
}

// AccessOperation says whether a role may do something.
type AccessOperation struct {
	// Name is "sessions", "messages", "memory", "tokens", "audit log", "seal audit log", "clean up audit log", "read as an
	// agent" or "migrate".
	Name    string `json:"name"`
	Allowed bool   `json:"allowed"`
	// Missing says what it would take, such as "DELETE on audit_log"; empty when it is allowed.
	Missing []string `json:"missing"`
}

// auditCleanup is what the cleanup of the audit log takes beyond the rights of a service.
var auditCleanup = []tableRights{{table: "audit_log", add: true, remove: true}, {table: "audit_seal", columns: []string{"ids"}}}

// tableOperations are the operations that take rights on tables. Each but the last takes what a service has of its tables.
var tableOperations = []struct {
	name   string
	tables []string
	rights []tableRights
}{
	{"sessions", []string{"schema_migrations", "schema_version", "sessions", "audit_log"}, rights},
	{"messages", []string{"messages", "message_keys", "audit_log"}, rights},
	{"memory", []string{"agent_memory", "audit_log"}, rights},
	{"tokens", []string{"secure_tokens", "audit_log"}, rights},
	{"audit log", []string{"audit_log"}, rights},
	{"seal audit log", []string{"audit_log", "audit_seal", "audit_seal_horizon"}, rights},
	{"clean up audit log", []string{"audit_log", "audit_seal"}, auditCleanup},
}

// CheckAccess asks the database what the role of this manager may do in it, by its rights and by the policies of row-level
// security, and changes nothing.
func (m *Manager) CheckAccess(ctx context.Context) (AccessReport, error) {
	const operation = "check access"
	report := AccessReport{ReaderRole: m.config.ReaderRole, Operations: []AccessOperation{}, Excess: []string{}}
	role, err := repeatable(ctx, m, operation, func(db gen.DBTX) (gen.AccessRoleRow, error) {
		return queries.AccessRole(ctx, db, m.config.ReaderRole)
	})
	if err != nil {
		return report, err
	}
	report.Role, report.Superuser, report.BypassesRowSecurity = role.Role, role.Superuser, role.BypassesRowSecurity
	names := make([]string, len(rights))
	for i, table := range rights {
		names[i] = table.table
	}
	found, err := repeatable(ctx, m, operation, func(db gen.DBTX) ([]gen.AccessTableListRow, error) {
		return queries.AccessTableList(ctx, db, names)
	})
	if err != nil {
		return report, err
	}
	tables := make(map[string]gen.AccessTableListRow)
	report.Owner, report.RowSecurity = len(found) > 0, len(found) == len(rights)
	for _, table := range found {
		tables[table.Name] = table
		report.Owner = report.Owner && table.Owned
		report.RowSecurity = report.RowSecurity && table.RowSecurity
	}

	for _, operation := range tableOperations {
		var missing []string
		for _, needed := range operation.rights {
			if slices.Contains(operation.tables, needed.table) {
				missing = append(missing, needed.missing(tables)...)
			}
		}
		report.add(operation.name, missing...)
	}
	report.add("read as an agent", missingToRead(role, report)...)
	report.add("migrate", missingToMigrate(role, report)...)
	if !report.Owner {
		for _, table := range rights {
			report.Excess = append(report.Excess, table.excess(tables[table.table])...)
		}
	}
	return report, nil
}

// add appends an operation, which is allowed where nothing is missing.
func (r *AccessReport) add(name string, missing ...string) {
	r.Operations = append(r.Operations, AccessOperation{Name: name, Allowed: len(missing) == 0, Missing: append([]string{}, missing...)})
}

func missingToRead(role gen.AccessRoleRow, report AccessReport) (missing []string) {
	if !role.ReaderExists {
		missing = append(missing, "the role "+report.ReaderRole)
	} else if !role.MayReadAs {
		missing = append(missing, "membership in the role "+report.ReaderRole)
	}
	if !report.RowSecurity {
		missing = append(missing, "row-level security on every table")
	}
	return missing
}

func missingToMigrate(role gen.AccessRoleRow, report AccessReport) (missing []string) {
	if !report.Owner {
		missing = append(missing, "to own the tables")
	}
	if !role.MayCreate {
		missing = append(missing, "CREATE on the schema")
	}
	return missing
}

// missing returns what a role lacks of these rights.
func (t tableRights) missing(tables map[string]gen.AccessTableListRow) []string {
	has, found := tables[t.table]
	if !found {
		return []string{"the table " + t.table}
	}
	var missing []string
	check := func(needed bool, may bool, command, letter string) {
		switch {
		case !needed:
		case !may:
			missing = append(missing, command+" on "+t.table)
		case has.Restricted && !slices.Contains(has.Policies, letter) && !slices.Contains(has.Policies, "*"):
			missing = append(missing, "a policy for "+command+" on "+t.table)
		}
	}
	check(true, has.MaySelect, "SELECT", "r")
	check(t.add, has.MayInsert, "INSERT", "a")
	check(len(t.columns) > 0, len(without(t.columns, has.MayUpdate)) == 0, "UPDATE", "w")
	check(t.remove, has.MayDelete, "DELETE", "d")
	return missing
}

// excess returns what a role may do with the table beyond these rights.
func (t tableRights) excess(has gen.AccessTableListRow) []string {
	var excess []string
	check := func(may bool, what string) {
		if may {
			excess = append(excess, what+" on "+t.table)
		}
	}
	check(has.MayInsert && !t.add, "INSERT")
	if beyond := without(has.MayUpdate, t.columns); len(beyond) > 0 {
		check(true, "UPDATE ("+strings.Join(beyond, ", ")+")")
	}
	check(has.MayDelete && !t.remove, "DELETE")
	check(has.MayTruncate, "TRUNCATE")
	return excess
}

// without returns what of a is not in b.
func without(a, b []string) []string {
	var rest []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			rest = append(rest, s)
		}
	}
	return rest
}
