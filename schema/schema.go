// Package schema holds the migrations, the only DDL of the project, and the list of what a migrated database must have.
//
// golang-migrate runs the files, sqlc compiles the queries against them, and the store embeds them:
//
//	source, err := iofs.New(schema.FS, ".")
//	if err != nil {
//		return err
//	}
//	migrator, err := migrate.NewWithInstance("iofs", source, "pgx5", driver)
//	if err != nil {
//		return err
//	}
//	err = migrator.Migrate(schema.Latest())
package schema

import (
	"embed"
	"fmt"
	"strings"
	"sync"
)

// FS holds the migrations, NNNNNN_name.up.sql and NNNNNN_name.down.sql.
//
//go:embed *.sql
var FS embed.FS

// objects lists what a database has after the last migration. `make generate` writes it from a real database.
//
//go:embed objects.txt
var objects string

// FirstGeneration is the migration that a database made by the first generation already holds.
const FirstGeneration = 1

// FirstGenerationVersion is the version that the first generation recorded in schema_version for that state.
const FirstGenerationVersion = 3

// Objects returns what a database has after the last migration, one text each as the SchemaState query writes it, for
// instance "column messages.id bigint not null" or "trigger sessions_updated_at_trigger on sessions". The slice is shared:
// it must not be changed.
var Objects = sync.OnceValue(func() []string {
	return strings.Split(strings.TrimSpace(objects), "\n")
})

// Latest returns the number of the last migration.
var Latest = sync.OnceValue(func() uint {
	entries, err := FS.ReadDir(".")
	if err != nil {
		panic(err) // an embedded directory is always readable
	}
	var latest uint
	for _, entry := range entries {
		var version uint
		if _, err := fmt.Sscanf(entry.Name(), "%06d_", &version); err == nil {
			latest = max(latest, version)
		}
	}
	return latest
})
