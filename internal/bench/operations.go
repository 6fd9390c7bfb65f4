package bench

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// operations are what agents can do, by the name in a mix.
var operations = map[string]func(context.Context, *agent) error{
	"add": func(ctx context.Context, a *agent) error {
		added, err := a.manager.AddMessage(ctx, a.session, store.NewMessage{Sender: a.reader.AgentID, SenderType: a.reader.AgentType, Content: a.text()})
		if err == nil {
			a.seen = added.Cursor()
		}
		return err
	},
	"page": func(ctx context.Context, a *agent) error { // from the beginning of the session on, by key
		_, err := a.manager.GetMessages(ctx, store.GetMessagesParams{SessionID: a.session, Reader: a.reader, After: &store.MessageCursor{}})
		return err
	},
	"poll": func(ctx context.Context, a *agent) error { // what came since the agent last wrote or looked
		page, err := a.manager.GetMessages(ctx, store.GetMessagesParams{SessionID: a.session, Reader: a.reader, After: &a.seen})
		if err == nil && len(page.Messages) > 0 {
			a.seen = page.Next
		}
		return err
	},
	"session-get": func(ctx context.Context, a *agent) error {
		_, err := a.manager.GetSession(ctx, a.session, a.reader)
		return err
	},
	"list-sessions": func(ctx context.Context, a *agent) error {
		_, err := a.manager.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: a.reader})
		return err
	},
	"search": func(ctx context.Context, a *agent) error {
		_, err := a.manager.SearchContext(ctx, store.SearchContextParams{SessionID: a.session, Reader: a.reader, Query: "tokens one by oen"})
		return err
	},
	"memory-get": func(ctx context.Context, a *agent) error {
		_, err := a.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: a.reader.AgentID, SessionID: a.session, Key: "bench"})
		if errors.Is(err, store.ErrMemoryNotFound) {
			return nil // nothing was set yet, which is an answer too
		}
		return err
	},
	"memory-set": func(ctx context.Context, a *agent) error {
		_, err := a.manager.SetMemory(ctx, store.SetMemoryParams{AgentID: a.reader.AgentID, SessionID: a.session, Key: "bench", Value: a.text()})
		return err
	},
	"audit-list": func(ctx context.Context, a *agent) error {
		_, err := a.manager.ListAudit(ctx, store.ListAuditParams{Reader: a.reader, AgentID: a.reader.AgentID})
		return err
	},
}

// remarks make up what messages and memory hold, two at a time.
var remarks = []string{
	"The lexer splits the statement in one pass and allocates nothing.", "The parser reads its tokens one by one and looks ahead by one.",
	"Two tests fail since the migration; I look into the first.", "Done: the cache is bounded now and says so in its metrics.",
	"Who has changed the timeout of the build server?", "Please review the change to the retry of failed uploads before noon.",
	"The plan is to measure first, then to drop the index that nothing reads.", "It works on an empty database but not on the copy of last week.",
}

func (a *agent) text() string {
	return remarks[a.chance.IntN(len(remarks))] + " " + remarks[a.chance.IntN(len(remarks))]
}

// Names returns the operations that a mix can name.
func Names() []string { return slices.Sorted(maps.Keys(operations)) }
