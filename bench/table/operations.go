package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/bench/fixture"
	"github.com/sharedcontext/sharedcontext/v2/bench/peer"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// operation is one call that is measured. It gets the number of the call, so that not every call is the same.
type operation struct {
	name string
	// most is how many calls there may be in a block, 0 for as many as take its time.
	most int
	call func(ctx context.Context, p peer.Operations, n int) error
}

const (
	batchSize = 100
	pageSize  = 50
	newSince  = 10 // messages that a poll finds
)

// operations are all that is measured, on this fixture. Each checks that it got what it should.
func operations(f fixture.Fixture) []operation {
	message := store.Message{
		SessionID: f.Target.ID, Sender: "agent_1", SenderType: "claude", Content: "The lexer splits the statement in one pass and allocates nothing.",
		Visibility: store.VisibilityPublic, MessageType: store.MessageTypeAgentResponse, Metadata: json.RawMessage(`{"commit":"5620728b80f7","lines":1}`),
	}
	batch := make([]store.Message, batchSize)
	for i := range batch {
		batch[i] = message
	}
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("key_%04d", i)
	}
	entry := store.MemoryEntry{
		AgentID: f.Agent, Value: `{"step":3,"done":["read","plan"],"open":["write","test"]}`, Metadata: json.RawMessage(`{"source":"planner"}`),
	}
	newest := len(f.Messages) - pageSize
	since := f.Messages[len(f.Messages)-1-newSince].Cursor()

	return []operation{
		{name: "add message", call: func(ctx context.Context, p peer.Operations, _ int) error {
			_, err := p.AddMessage(ctx, message)
			return err
		}},
		{name: "add 100 messages", most: 3, call: func(ctx context.Context, p peer.Operations, _ int) error {
			added, err := p.AddMessages(ctx, f.Target.ID, batch)
			return counted(len(added), batchSize, err)
		}},
		{name: "newest page of 50, with the total", call: func(ctx context.Context, p peer.Operations, _ int) error {
			page, err := p.GetMessages(ctx, f.Session.ID, fixture.Reader, newest)
			return counted(len(page.Messages), pageSize, err)
		}},
		{name: "poll after a cursor, 10 new", call: func(ctx context.Context, p peer.Operations, _ int) error {
			page, err := p.GetMessagesAfter(ctx, f.Session.ID, fixture.Reader, since)
			return counted(len(page.Messages), newSince, err)
		}},
		{name: "get session with 50 messages", call: func(ctx context.Context, p peer.Operations, _ int) error {
			detail, err := p.GetSession(ctx, f.Session.ID, fixture.Reader)
			return counted(len(detail.Messages), pageSize, err)
		}},
		{name: "set memory", call: func(ctx context.Context, p peer.Operations, n int) error {
			set := entry
			set.Key = keys[n%len(keys)]
			_, err := p.SetMemory(ctx, set, time.Hour)
			return err
		}},
		{name: "get memory", call: func(ctx context.Context, p peer.Operations, n int) error {
			_, err := p.GetMemory(ctx, f.Agent, keys[n%len(keys)])
			return err
		}},
		{name: "list memory, 50 entries", call: func(ctx context.Context, p peer.Operations, _ int) error {
			page, err := p.ListMemory(ctx, f.Agent)
			return counted(len(page.Entries), pageSize, err)
		}},
	}
}

// counted returns an error unless there are as many as there should be.
func counted(got, want int, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("%d rows, not %d", got, want)
	}
	return err
}
