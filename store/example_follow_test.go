package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// An agent follows a session, stops, and goes on later from the cursor that it has kept.
func ExampleManager_Follow() {
	ctx, manager, done := exampleDatabase()
	defer done()
	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "review the parser", CreatedBy: "planner"})
	if err != nil {
		log.Fatal(err)
	}
	reviewer := store.Reader{AgentID: "reviewer", AgentType: "claude"}
	write := func(text string) {
		if _, err := manager.AddMessage(ctx, session.ID, store.NewMessage{Sender: "planner", Content: text}); err != nil {
			log.Fatal(err)
		}
	}
	// receive prints messages until one says to stop, and returns the place behind it as text.
	receive := func(after []byte) []byte {
		params := store.FollowParams{SessionID: session.ID, Reader: reviewer}
		if after != nil {
			if err := params.After.UnmarshalText(after); err != nil {
				log.Fatal(err)
			}
		}
		for event, err := range manager.Follow(ctx, params) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(event.Message.Sender+":", event.Message.Content)
			if event.Message.Content == "Stop." {
				cursor, err := event.Cursor.MarshalText()
				if err != nil {
					log.Fatal(err)
				}
				return cursor
			}
		}
		return nil
	}

	write("Start with the lexer.")
	write("Stop.")
	cursor := receive(nil)
	write("Go on with the parser.")
	write("Stop.")
	receive(cursor)

	// A loop ends with its context.
	ending, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range manager.Follow(ending, store.FollowParams{SessionID: session.ID, Reader: reviewer}) {
		fmt.Println(errors.Is(err, context.Canceled))
	}
	// Output:
	// planner: Start with the lexer.
	// planner: Stop.
	// planner: Go on with the parser.
	// planner: Stop.
	// true
}
