package peer

import (
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

type storeOperations struct{ manager *store.Manager }

func newMessage(m *store.Message) store.NewMessage {
	return store.NewMessage{
		Sender: m.Sender, SenderType: m.SenderType, Content: m.Content, Visibility: m.Visibility, MessageType: m.MessageType, Metadata: m.Metadata,
	}
}

func (o storeOperations) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	return o.manager.AddMessage(ctx, message.SessionID, newMessage(&message))
}

func (o storeOperations) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	batch := make([]store.NewMessage, len(messages))
	for i := range messages {
		batch[i] = newMessage(&messages[i])
	}
	return o.manager.AddMessages(ctx, sessionID, batch)
}

func (o storeOperations) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	return o.manager.GetMessages(ctx, store.GetMessagesParams{SessionID: sessionID, Reader: reader, Limit: pageSize, Offset: offset})
}

func (o storeOperations) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	return o.manager.GetMessages(ctx, store.GetMessagesParams{SessionID: sessionID, Reader: reader, Limit: pageSize, After: &after})
}

func (o storeOperations) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	return o.manager.GetSession(ctx, sessionID, reader)
}

func (o storeOperations) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	return o.manager.SetMemory(ctx, store.SetMemoryParams{
		AgentID: entry.AgentID, Key: entry.Key, Value: entry.Value, Metadata: entry.Metadata, TTL: ttl,
	})
}

func (o storeOperations) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	return o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: agentID, Key: key})
}

func (o storeOperations) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	return o.manager.ListMemory(ctx, store.ListMemoryParams{AgentID: agentID, Scope: store.MemoryScopeGlobal, Limit: pageSize})
}
