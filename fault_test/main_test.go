// Package fault_test breaks the connections, the server and its limits under the store, and proves that every
// acknowledged write is there afterwards exactly once, that errors say whether a retry is safe, and that the pool
// recovers by itself.
package fault_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
