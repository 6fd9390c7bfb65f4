package store_test

import (
	"context"
	"log"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// exampleTB is as much of a test as storetest needs: an example has none of its own.
type exampleTB struct {
	testing.TB
	ctx     context.Context
	cleanup []func()
}

func (*exampleTB) Helper()                           {}
func (*exampleTB) Errorf(format string, args ...any) { log.Panicf(format, args...) }
func (*exampleTB) Fatalf(format string, args ...any) { log.Panicf(format, args...) }
func (tb *exampleTB) Context() context.Context       { return tb.ctx }
func (tb *exampleTB) Cleanup(f func())               { tb.cleanup = append(tb.cleanup, f) }

// exampleDatabase returns the manager of a migrated database, and a context that carries it, until done is called.
func exampleDatabase() (ctx context.Context, manager *store.Manager, done func()) {
	return exampleOpen(storetest.Config)
}

// exampleService is exampleDatabase for a service that does not own the database.
func exampleService() (ctx context.Context, manager *store.Manager, done func()) {
	return exampleOpen(func(tb testing.TB) store.Config {
		tb.Helper()
		return storetest.Service(tb, storetest.Config(tb))
	})
}

func exampleOpen(config func(testing.TB) store.Config) (ctx context.Context, manager *store.Manager, done func()) {
	tb := &exampleTB{ctx: context.Background()}
	ctx, manager = storetest.Open(tb, config(tb))
	return ctx, manager, func() {
		for i := len(tb.cleanup) - 1; i >= 0; i-- {
			tb.cleanup[i]()
		}
	}
}
