package telemetry_test

import (
	"context"
	"log"
	"testing"

	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// marker is in every value that the tests send. It must be in no span and no metric.
const marker = "tango-uniform-42"

// alice reads in the tests.
var alice = store.Reader{AgentID: "alice", AgentType: "claude"}

// newSession makes a session whose fields hold the marker.
func newSession(ctx context.Context, tb testing.TB, m *store.Manager) store.Session {
	tb.Helper()
	session, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: marker, CreatedBy: "alice", Metadata: map[string]any{marker: marker}})
	if err != nil {
		tb.Fatal(err)
	}
	return session
}

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

// exampleConfig returns the configuration of a migrated database, until done is called.
func exampleConfig() (config store.Config, done func()) {
	tb := &exampleTB{ctx: context.Background()}
	return storetest.Config(tb), func() {
		for i := len(tb.cleanup) - 1; i >= 0; i-- {
			tb.cleanup[i]()
		}
	}
}
