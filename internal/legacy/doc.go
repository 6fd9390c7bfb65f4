// Package legacy reads the SQLite files of the first generation, of all its schema versions, without changing them.
//
//	file, err := legacy.Open(ctx, "chat_history.db")
//	...
//	defer file.Close()
//	err = file.Rows(ctx, &canonical.Messages, func(row *legacy.Row) error { ... })
//
// Everything is read from one snapshot, taken by Open, whatever is written to the file meanwhile.
package legacy
