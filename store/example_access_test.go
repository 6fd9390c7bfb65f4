package store_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// A report by SQL of a service's own counts what its reader may see, and nothing else.
func ExampleAsReader() {
	ctx, manager, done := exampleService() // of a database whose owner has run "sharedcontext access grant"
	defer done()
	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "report", CreatedBy: "planner"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = manager.AddMessages(ctx, session.ID, []store.NewMessage{
		{Sender: "planner", Content: "Start with the lexer."},
		{Sender: "planner", Content: "I am not sure of this.", Visibility: store.VisibilityPrivate},
	})
	if err != nil {
		log.Fatal(err)
	}

	for _, agent := range []string{"planner", "reviewer"} {
		scope := store.AsReader(ctx, store.Reader{AgentID: agent})
		rows, err := store.ExecuteQuery(scope, "SELECT count(*) AS messages FROM messages WHERE session_id = ?", session.ID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(agent, "sees", rows[0]["messages"])
		_, err = store.ExecuteUpdate(scope, "DELETE FROM messages")
		fmt.Println("and may not delete:", errors.Is(err, store.ErrPermission))
	}
	// Output:
	// planner sees 2
	// and may not delete: true
	// reviewer sees 1
	// and may not delete: true
}
