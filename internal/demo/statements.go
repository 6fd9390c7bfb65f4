package demo

import (
	"context"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// execute runs statements of its own, with placeholders, next to the operations.
func (o *operations) execute(ctx context.Context, at where) error {
	key, value := operationPrefix+"sql", clean(o.transcript.Entries[0].Content)
	o.called("ExecuteInsert")
	id, err := store.ExecuteInsert(ctx, "INSERT INTO agent_memory (agent_id, key, value, metadata) VALUES (?, ?, ?, ?::jsonb)",
		o.agent, key, "inserted", `{"step": "insert"}`)
	if err != nil {
		return err
	}
	o.called("ExecuteUpdate")
	changed, err := store.ExecuteUpdate(ctx, "UPDATE agent_memory SET value = ? WHERE agent_id = ? AND key = ?", value, o.agent, key)
	if err != nil {
		return err
	}
	if id <= 0 || changed != 1 {
		o.wrong(at, "an insert gave the id %d, and the update after it changed %d rows", id, changed)
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	o.called("ExecuteQuery")
	rows, err := store.ExecuteQuery(ctx, "SELECT id, value, metadata ?? 'step' AS step FROM agent_memory WHERE agent_id = ? AND key = ?", o.agent, key)
	if err != nil {
		return err
	}
	if len(rows) != 1 || rows[0]["id"] != id || rows[0]["value"] != value || rows[0]["step"] != true {
		o.wrong(at, "a query gave %d rows, or others than were inserted and updated", len(rows))
	}
	o.called("GetMemory")
	entry, err := o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: o.agent, Key: key})
	if err != nil {
		return err
	}
	if entry.Value != value || !sameJSON(entry.Metadata, []byte(`{"step":"insert"}`)) {
		o.wrong(at, "memory that a statement has written comes back as another")
	}
	o.called("GetDBConnection")
	err = store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		var count int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM messages WHERE session_id = $1", o.session.ID).Scan(&count); err != nil {
			return err
		}
		if count != int64(len(o.own)) {
			o.wrong(at, "a connection counts %d messages, not %d", count, len(o.own))
		}
		return nil
	})
	if err != nil {
		return err
	}
	o.called("ExecuteUpdate")
	if changed, err = store.ExecuteUpdate(ctx, "DELETE FROM agent_memory WHERE agent_id = ? AND key = ?", o.agent, key); err != nil {
		return err
	}
	if changed != 1 {
		o.wrong(at, "a deletion of one row removed %d", changed)
	}
	return nil
}
