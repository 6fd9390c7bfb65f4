package importer

import (
	"context"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
)

// unique is a key other than the id that the database holds once.
type unique struct {
	names   [3]string
	session bool // whether the session is part of it, rather than global memory
}

// uniqueKey returns the key of a row of memory or of tokens.
func uniqueKey(table *canonical.Table, row canonical.Row) unique {
	value := func(name string) canonical.Value { return row[table.Column(name)] }
	if table == &canonical.SecureTokens {
		return unique{names: [3]string{value("token_id").Text}}
	}
	session := value("session_id")
	return unique{names: [3]string{value("agent_id").Text, value("key").Text, session.Text}, session: !session.Null}
}

// owners returns the ids of the rows in the database that have the keys of these rows of memory or of tokens.
func (t *target) owners(ctx context.Context, table *canonical.Table, items []item) (map[unique]int64, error) {
	owners := make(map[unique]int64)
	first, second := make([]string, len(items)), make([]string, len(items))
	for i, it := range items {
		key := uniqueKey(table, it.row)
		first[i], second[i] = key.names[0], key.names[1]
	}
	sql := "SELECT id, token_id, '', NULL::text FROM secure_tokens WHERE token_id = ANY ($1) AND cardinality($2::text[]) >= 0"
	if table == &canonical.AgentMemory {
		sql = "SELECT m.id, m.agent_id, m.key, m.session_id FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS k (agent, key)) k " +
			"JOIN agent_memory m ON m.agent_id = k.agent AND m.key = k.key"
	}
	rows, err := t.conn.Query(ctx, sql, first, second)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var key unique
		var session *string
		if err := rows.Scan(&id, &key.names[0], &key.names[1], &session); err != nil {
			return nil, err
		}
		if session != nil {
			key.names[2], key.session = *session, true
		}
		owners[key] = id
	}
	return owners, rows.Err()
}
