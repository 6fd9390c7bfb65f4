// Command sharedcontext looks after the database of a shared-context server: it migrates it, checks it, cleans it up,
// starts one for development, and shows on a transcript that it works.
//
//	sharedcontext demo
//	sharedcontext dev -- go test ./...
//	DATABASE_URL=postgresql://… sharedcontext migrate up
//	DATABASE_URL=postgresql://… sharedcontext health --json
//
// It exits with 0 when all went well, 1 when something failed and 2 when it was called wrongly; health says more by 3 and 4.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}
