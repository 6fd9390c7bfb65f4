package store

import (
	"context"
	"iter"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// FollowMemoryParams are the arguments of [Manager.FollowMemory].
type FollowMemoryParams struct {
	// AgentID is the agent whose memory it is. Required.
	AgentID string
	// SessionID is the session of the memory; empty means global memory.
	SessionID string
	// After is the Cursor of the latest entry that was received; the zero cursor means from the start.
	After FollowCursor
}

// FollowedMemory is an entry of memory that a follower receives.
type FollowedMemory struct {
	Entry MemoryEntry
	// Cursor is the place behind this entry, for a follower that was restarted.
	Cursor FollowCursor
}

// FollowMemory yields the live entries of an agent's memory in one scope that were set after the cursor, then each as it
// is set, without an end. An entry that is set twice before the follower reads comes once, with its latest value; one that
// is deleted or expires is not reported. The rest is as with [Manager.Follow].
func (m *Manager) FollowMemory(ctx context.Context, params FollowMemoryParams) iter.Seq2[FollowedMemory, error] {
	return func(yield func(FollowedMemory, error) bool) {
		err := memoryScopeInput(params.AgentID, params.SessionID)
		if err == nil {
			err = m.followMemory(ctx, params, func(entry MemoryEntry, cursor FollowCursor) bool {
				return yield(FollowedMemory{entry, cursor}, nil)
			})
		}
		if err != nil {
			yield(FollowedMemory{}, err)
		}
	}
}

func (m *Manager) followMemory(ctx context.Context, params FollowMemoryParams, yield func(MemoryEntry, FollowCursor) bool) error {
	const operation = "follow memory"
	following, leave, err := m.feeds.enter(WithoutTx(ctx))
	if err != nil {
		return operationError(operation, err)
	}
	defer leave()
	_, err = repeatable(following, m, operation, func(db gen.DBTX) (FollowCursor, error) {
		row, err := queries.MemoryFollowStart(following, db, gen.MemoryFollowStartParams{SessionID: params.SessionID, AgentID: params.AgentID})
		if err != nil {
			return FollowCursor{}, err
		}
		return startOf(gen.FollowStartRow(row), params.After)
	})
	if err == nil {
		part := memoryPart{params.AgentID, params.SessionID}
		err = m.feeds.memory.follow(following, part, Reader{}, params.After, func(*MemoryEntry) bool { return true }, yield)
	}
	return m.feeds.explain(operation, err)
}

// memoryPart is what can be followed of memory: that of one agent in one session, or its global one.
type memoryPart struct{ agentID, sessionID string }

func (p memoryPart) topic() uint64 { return memoryTopic(p.agentID, p.sessionID) }

// readNewMemory reads a page of what was set in each part.
func (m *Manager) readNewMemory(ctx context.Context, _ Reader, parts []memoryPart, from []FollowCursor, maxRows int) ([]news[MemoryEntry], error) {
	params := gen.MemoryFollowParams{MaxRows: int32(maxRows)}
	for _, part := range parts {
		params.AgentIds, params.SessionIds = append(params.AgentIds, part.agentID), append(params.SessionIds, part.sessionID)
	}
	params.Behind, params.Until, params.AfterTransactions, params.AfterIds = cursorColumns(from)
	return repeatable(ctx, m, "follow memory", func(db gen.DBTX) ([]news[MemoryEntry], error) {
		rows, err := queries.MemoryFollow(ctx, db, params)
		if err != nil {
			return nil, err
		}
		found := make([]news[MemoryEntry], len(parts))
		for i := range rows {
			row := &rows[i]
			part := parts[row.Place-1]
			if err := found[row.Place-1].add(row.Now, row.Standby, row.SessionFound, row.TransactionID, row.ID, func() MemoryEntry {
				return MemoryEntry{
					AgentID: part.agentID, SessionID: part.sessionID, Key: row.Key, Value: row.Value, Metadata: objectOrNil(row.Metadata),
					CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, ExpiresAt: row.ExpiresAt,
				}
			}); err != nil {
				return nil, err
			}
		}
		return checkNews(found, from), nil
	})
}
