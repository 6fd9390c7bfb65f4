// Package store is the data layer of a shared-context server: sessions in which AI agents work on one task, the messages
// they exchange with rules of visibility, their memory, the audit trail and the tokens, all in one PostgreSQL database.
//
// A [Manager] owns the connections. Its methods are the operations, each one statement and one round trip:
//
//	config, err := store.ConfigFromEnv() // DATABASE_URL and others
//	manager, err := store.Open(ctx, config)
//	defer manager.Close(ctx)
//	err = manager.InitializeDatabase(ctx) // create or upgrade the schema, check it
//
//	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "review the parser", CreatedBy: "planner"})
//	message, err := manager.AddMessage(ctx, session.ID, store.NewMessage{Sender: "planner", Content: "Start with the lexer."})
//	page, err := manager.GetMessages(ctx, store.GetMessagesParams{
//		SessionID: session.ID,
//		Reader:    store.Reader{AgentID: "reviewer", AgentType: "claude"},
//	})
//	for event, err := range manager.Follow(ctx, store.FollowParams{SessionID: session.ID, Reader: reader, After: cursor}) {
//		// each message that reader may see, once, as soon as it is committed
//	}
//
// The manager, and the transaction that [Manager.InTx] runs, travel in the context. The functions of the first generation
// ([GetDBConnection], [ExecuteQuery], [HealthCheck] and others) take the manager from there, see [NewContext], or make a
// default one from the environment.
//
// Bad arguments are a [*ValidationError] before the database is asked. What comes from the database is a
// [*DatabaseError], or its kinds [*DatabaseConnectionError] and [*DatabaseSchemaError]. What is wrong with the data is one
// of the Err variables, for [errors.Is]. [IsRetryable] tells which calls may be repeated as they were.
package store
