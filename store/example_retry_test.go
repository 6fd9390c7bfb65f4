package store_test

import (
	"fmt"
	"log"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// A message with an idempotency key is added once, however often the call has to be repeated.
func ExampleIsRetryable() {
	ctx, manager, done := exampleDatabase()
	defer done()
	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "review the parser", CreatedBy: "planner"})
	if err != nil {
		log.Fatal(err)
	}

	message := store.NewMessage{Sender: "planner", Content: "Start with the lexer.", IdempotencyKey: "task-17/step-1"}
	for attempt := range 6 {
		_, err = manager.AddMessage(ctx, session.ID, message)
		if !store.IsRetryable(err) { // also when it is nil
			break
		}
		select {
		case <-time.After(50 * time.Millisecond << attempt):
		case <-ctx.Done():
		}
	}
	if err != nil {
		log.Fatal(err)
	}

	page, err := manager.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: store.Reader{AgentID: "reviewer"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.TotalCount)
	// Output: 1
}
