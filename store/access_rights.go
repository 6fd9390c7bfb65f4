package store

// tableRights says what the two roles of [AccessRoles] may do with a table. A service reads all of it. Neither has
// any other right: to TRUNCATE, or to change the table itself.
type tableRights struct {
	table   string
	why     string
	add     bool     // INSERT
	remove  bool     // DELETE
	columns []string // UPDATE
	sees    string   // the condition on the rows that a reader sees; empty for none, and no right to ask
}

// rights are those of every table, in the order in which writers lock them.
//
// A policy that is not always true is a barrier to the planner: conditions of a query whose functions could tell what they
// are called with, LIKE for one, are not looked up in an index any more. So a service reads by one that is always true.
var rights = []tableRights{
	{table: "schema_migrations", why: "A service looks whether its schema is there."},
	{table: "schema_version", why: "The same of the first generation."},
	{
		table: "sessions", why: "Every reader sees the sessions, as GetSession and ListActiveSessions show them.",
		add: true, remove: true, columns: []string{"is_active", "metadata"},
		sees: agentID + ` <> ''`,
	},
	{
		table: "message_keys", why: "A retried add finds its key by an update that changes nothing.",
		add: true, columns: []string{"key"},
	},
	{
		table: "messages", why: "Messages are only added. A reader sees them by the rule of visibility.",
		add: true,
		sees: agentID + ` <> ''
       AND (` + isAdmin + `
         OR visibility = 'public'
         OR (visibility IN ('private', 'agent_only') AND sender = ` + agentID + `)
         OR (visibility = 'agent_only' AND sender_type = ` + agentType + `))`,
	},
	{
		table: "agent_memory", why: "A reader sees its own memory, as long as it has not expired.",
		add: true, remove: true, columns: []string{"value", "metadata", "created_at", "updated_at", "expires_at"},
		sees: `agent_id = ` + agentID + `
       AND (expires_at IS NULL OR expires_at > now())`,
	},
	{
		table: "secure_tokens", why: "Readers see no tokens. The right to update a column lets the cleanup lock the rows that it deletes.",
		add: true, remove: true, columns: []string{"created_at"},
	},
	{
		table: "audit_log", why: "The audit log is only added to. A reader sees its own events, an admin all.",
		add: true,
		sees: agentID + ` <> ''
       AND (agent_id = ` + agentID + ` OR ` + isAdmin + `)`,
	},
	{table: "audit_seal", why: "A service seals the audit log. What is sealed it cannot change.", add: true},
	{table: "audit_seal_horizon", why: "How far the audit log may be sealed.", add: true, columns: []string{"last_id", "holders"}},
}

// The settings that name a reader, see [AsReader], each in a query of its own, which is asked once for a statement rather
// than for each row. A setting that nobody has made is NULL, and empty after the transaction that made it: neither is the
// name of an agent, or its type.
const (
	agentID   = `(SELECT current_setting('sharedcontext.agent_id', true))`
	agentType = `(SELECT current_setting('sharedcontext.agent_type', true))`
	isAdmin   = `(SELECT current_setting('sharedcontext.admin', true)) = 'true'`
	// noReader is the condition on all that a service writes: one that got its role back while it reads as an agent, by
	// SQL of its own, still writes nothing.
	noReader = `coalesce(` + agentID + `, '') = ''`
)
