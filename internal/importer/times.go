package importer

import (
	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy"
)

// completeTimes converts the times of a row. One that is missing or cannot be read is taken from another column, and where
// there is none from the session or from the latest session of the file: the time of the import would be another one in
// each run.
func (c *converter) completeTimes(table *canonical.Table, source *legacy.Row, it *item) {
	at := func(name string) (i int, t int64, ok bool) {
		i = table.Column(name)
		t, ok = micros(source.Values[i])
		return i, t, ok
	}
	// set writes a time that was not read from its own column, and notes it.
	set := func(i int, t int64) {
		it.row[i] = canonical.Value{Int: t}
		c.noteTime(table, i, source, it)
	}
	keep := func(i int, t int64, ok bool, otherwise int64) {
		if ok {
			it.row[i] = canonical.Value{Int: t}
		} else {
			set(i, otherwise)
		}
	}
	either := func(t int64, ok bool, otherwise int64) int64 {
		if ok {
			return t
		}
		return otherwise
	}
	switch table {
	case &canonical.Sessions:
		i, created, createdOK := at("created_at")
		j, updated, updatedOK := at("updated_at")
		keep(i, created, createdOK, either(updated, updatedOK, c.latest))
		keep(j, updated, updatedOK, either(created, createdOK, c.latest))
	case &canonical.Messages:
		i, t, ok := at("timestamp")
		session, sessionOK := micros(source.SessionCreated)
		keep(i, t, ok, either(session, sessionOK, c.latest))
	case &canonical.AuditLog:
		i, t, ok := at("timestamp")
		keep(i, t, ok, c.latest)
	case &canonical.SecureTokens:
		i, expires, expiresOK := at("expires_at")
		j, created, createdOK := at("created_at")
		keep(i, expires, expiresOK, either(created, createdOK, c.latest)) // a token of which the end is unknown has ended
		keep(j, created, createdOK, either(expires, expiresOK, c.latest))
	case &canonical.AgentMemory:
		i, created, createdOK := at("created_at")
		j, updated, updatedOK := at("updated_at")
		k, expires, expiresOK := at("expires_at")
		keep(j, updated, updatedOK, either(created, createdOK, c.latest))
		keep(i, created, createdOK, it.row[j].Int)
		if it.row[k] = (canonical.Value{Int: expires}); !expiresOK {
			it.row[k] = canonical.Value{Null: true} // the first generation never let such an entry expire
			if source.Values[k].Kind != legacy.Null {
				c.noteTime(table, k, source, it)
			}
			return
		}
		if it.row[i].Int >= expires {
			it.row[i].Int = expires - second
			it.change(table, i, RuleTimeOrder, source.Values[i])
		}
	}
}

// noteTime says why a column has another time than it had.
func (c *converter) noteTime(table *canonical.Table, i int, source *legacy.Row, it *item) {
	switch {
	case c.absent[table][i]:
	case source.Values[i].Kind == legacy.Null:
		it.change(table, i, RuleNull, source.Values[i])
	default:
		it.change(table, i, RuleTime, source.Values[i])
	}
}
