package peer_test

import (
	"testing"

	"go.uber.org/goleak"
)

// A tool that is not closed leaves the goroutines of its pool.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
