package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// databaseName is the database made in a private server.
const databaseName = "sharedcontext"

// withServer starts a private PostgreSQL, calls fn with the address of a database in it and what to call the server, and
// stops it.
func withServer(ctx context.Context, options postgres.Options, fn func(ctx context.Context, url, description string) error) (err error) {
	server, err := postgres.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, server.Stop(stopping))
	}()
	version, err := makeDatabase(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	programs, err := postgres.FindBinaries(ctx)
	if err != nil {
		return err
	}
	return fn(ctx, server.URL(databaseName), fmt.Sprintf("private PostgreSQL %s (programs of %s)", version, programs))
}

// makeDatabase creates the database if it is not there, and returns the version of the server.
func makeDatabase(ctx context.Context, url string) (version string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing hangs on it
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{databaseName}.Sanitize())
	var refused *pgconn.PgError
	if err != nil && (!errors.As(err, &refused) || refused.Code != "42P04") { // duplicate_database
		return "", err
	}
	version, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ") // Debian adds its package
	return version, nil
}

// describeDatabase returns the version of a manager's server, and its URL without a password.
func describeDatabase(ctx context.Context, manager *store.Manager) (string, error) {
	rows, err := store.ExecuteQuery(store.NewContext(ctx, manager), "SHOW server_version")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("PostgreSQL %v at %s", rows[0]["server_version"], manager.Stats().URL), nil
}

// migrateTo brings the database at url up to date.
func migrateTo(ctx context.Context, databaseURL string) error {
	return withConfig(ctx, store.Config{URL: databaseURL, MinConnections: -1}, func(ctx context.Context, _ *store.Manager) error {
		return store.InitializeDatabase(ctx)
	})
}
