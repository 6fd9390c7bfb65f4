// Command schemaobjects migrates an empty database on a private server and writes what it then holds to the file that
// its argument names: schema/objects.txt, which the store compares real databases with.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: schemaobjects FILE")
		os.Exit(2)
	}
	if err := write(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "schemaobjects:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, path string) (err error) {
	server, err := postgres.Start(ctx, postgres.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(ctx)) }()

	url := server.URL("postgres")
	migrator, err := store.OpenMigrator(ctx, store.Config{URL: url})
	if err != nil {
		return err
	}
	if err := errors.Join(migrator.Up(ctx), migrator.Close()); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	state, err := gen.New().SchemaState(ctx, conn)
	if err != nil {
		return err
	}
	objects := slices.DeleteFunc(state.Objects, func(object string) bool {
		return strings.Contains(object, "schema_migrations") // golang-migrate's own table
	})
	slices.Sort(objects)
	return os.WriteFile(path, []byte(strings.Join(objects, "\n")+"\n"), 0o644) //nolint:gosec // a source file
}
