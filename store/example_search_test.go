package store_test

import (
	"fmt"
	"log"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// A reviewer looks for a message of which it remembers little, with typing errors.
func ExampleManager_SearchContext() {
	ctx, manager, done := exampleDatabase()
	defer done()
	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "fix the login", CreatedBy: "planner"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = manager.AddMessages(ctx, session.ID, []store.NewMessage{
		{Sender: "planner", Content: "The tokenizer is done."},
		{Sender: "planner", Content: "Authentication fails for expired tokens."},
		{Sender: "planner", Content: "My own notes on authentication", Visibility: store.VisibilityPrivate},
	})
	if err != nil {
		log.Fatal(err)
	}
	found, err := manager.SearchContext(ctx, store.SearchContextParams{
		SessionID: session.ID, Reader: store.Reader{AgentID: "reviewer"}, Query: "athentication fials", Limit: 1,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, result := range found.Results {
		fmt.Println(result.Score, result.Relevance, result.Preview)
	}
	// Output:
	// 89.47 high Authentication fails for expired tokens.
}
