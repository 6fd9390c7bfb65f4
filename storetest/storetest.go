// Package storetest gives a test a PostgreSQL database of its own, migrated and dropped after it. It makes one in
// milliseconds, as a copy of a template, and may be used by parallel tests of many packages at once.
//
//	func TestAnnounce(t *testing.T) {
//		t.Parallel()
//		ctx, manager := storetest.New(t)
//		session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "plan", CreatedBy: "planner"})
//		if err != nil {
//			t.Fatal(err)
//		}
//		announce(ctx, session.ID) // code under test that takes the manager from the context
//	}
//
// The server is the one that STORETEST_DATABASE_URL names, whose user must be allowed to create databases; else a private
// one that all test processes of this user share, started from installed binaries or downloaded ones, and gone with the
// last of them. Databases of a process that was killed are dropped by the next one.
//
// STORETEST_EXEC_MODE makes every manager send its statements in that way, "cache_describe" for instance as behind a
// transaction pooler; see store.ExecMode for the names. STORETEST_PGBOUNCER=1 puts a real one before the server: PgBouncer in
// transaction mode, which must be installed. Configurations then lead through it, and have a DirectURL beside.
//
// STORETEST_ROLE=service makes every manager of a migrated database work as a service that does not own it, see [Service].
package storetest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// cleanupTimeout bounds what happens after a test, when the test's own context has ended.
const cleanupTimeout = 30 * time.Second

// New returns the manager of a migrated database that only this test uses, and a context that carries it, for the
// package-level functions of store. Both end with the test. It fails the test when no server can be had.
func New(tb testing.TB) (context.Context, *store.Manager) {
	tb.Helper()
	return Open(tb, Config(tb))
}

// Open returns a manager with this configuration, closed after the test, and a context that carries it.
func Open(tb testing.TB, config store.Config) (context.Context, *store.Manager) {
	tb.Helper()
	manager, err := store.Open(tb.Context(), config)
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		if err := manager.Close(ctx); err != nil {
			tb.Errorf("storetest: the test leaves an operation running: %v", err)
		}
	})
	return store.NewContext(tb.Context(), manager), manager
}

// Config returns the configuration of a migrated database that only this test uses, with a key for its tokens, for tests
// that open managers of their own. The database is dropped after the test.
func Config(tb testing.TB) store.Config {
	tb.Helper()
	config := OwnerConfig(tb)
	switch role := os.Getenv("STORETEST_ROLE"); role {
	case "", "owner":
		return config
	case "service":
		return Service(tb, config)
	default:
		tb.Fatalf("storetest: STORETEST_ROLE=%q is none of owner, service", role)
		return config
	}
}

// OwnerConfig is [Config] for the owner of the database, whatever STORETEST_ROLE says, for tests of what only an owner may.
func OwnerConfig(tb testing.TB) store.Config {
	tb.Helper()
	return newDatabase(tb, (*server).createMigrated)
}

// EmptyConfig is [OwnerConfig] for a database without the schema, for tests of what creates it.
func EmptyConfig(tb testing.TB) store.Config {
	tb.Helper()
	return newDatabase(tb, (*server).createEmpty)
}

// Service returns the configuration of a service that uses the database of config, which [Config] has made, without owning
// it: by a login with the rights that store.Migrator.GrantAccess gives, and with a role to read as an agent. Both roles are
// made for this database and dropped with it. The owner's address becomes DirectURL.
func Service(tb testing.TB, config store.Config) store.Config {
	tb.Helper()
	if config.ReaderRole != "" { // it is a service's already
		return config
	}
	server, err := connected()
	if err == nil {
		config, err = server.grant(tb.Context(), config)
	}
	if err != nil {
		tb.Fatalf("storetest: grant access: %v", err)
	}
	return config
}

func newDatabase(tb testing.TB, create func(*server, context.Context) (string, error)) store.Config {
	tb.Helper()
	server, err := connected()
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	mode, err := execMode(os.Getenv("STORETEST_EXEC_MODE"))
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	name, err := create(server, tb.Context())
	if err != nil {
		tb.Fatalf("storetest: create database: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		if err := server.drop(ctx, name); err != nil {
			tb.Errorf("storetest: drop database: %v", err)
		}
	})
	config, err := pooled(store.Config{URL: server.url(name), MinConnections: -1, ExecMode: mode, EncryptionKeys: []store.Secret{newKey()}}, name)
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	return config
}

// newKey returns a Fernet key, so that tokens work.
func newKey() store.Secret {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails, by its documentation
	return store.Secret(base64.URLEncoding.EncodeToString(key[:]))
}

// execMode returns the mode of this name, auto for none.
func execMode(name string) (store.ExecMode, error) {
	if name == "" {
		return store.ExecModeAuto, nil
	}
	for mode := store.ExecModeAuto; mode <= store.ExecModeSimpleProtocol; mode++ {
		if mode.String() == name {
			return mode, nil
		}
	}
	return 0, fmt.Errorf("STORETEST_EXEC_MODE=%q is none of auto, cache_statement, cache_describe, exec, simple_protocol", name)
}
