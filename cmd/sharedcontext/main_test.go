package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asCommand makes the test binary behave as the command, for tests that need a process: of signals.
const asCommand = "SHAREDCONTEXT_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// call runs a command within this process.
func call(t *testing.T, args ...string) result {
	t.Helper()
	return callContext(t.Context(), args...)
}

func callContext(ctx context.Context, args ...string) result {
	var out, err strings.Builder
	code := run(ctx, args, streams{strings.NewReader(""), &out, &err})
	return result{code, out.String(), err.String()}
}

// process returns the command as a process of its own, not started yet. It is killed after a minute at the latest.
func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// withDatabase sets the environment to a database, or to none.
func withDatabase(t *testing.T, url string) {
	t.Helper()
	for _, name := range []string{"DIRECT_DATABASE_URL", "DATABASE_PATH", "POSTGRESQL_POOL_SIZE", "DATABASE_MAX_CONNECTIONS"} {
		t.Setenv(name, "")
	}
	t.Setenv("DATABASE_URL", url)
	t.Setenv("DATABASE_TIMEOUT", "5")
}

// dataDir returns the name of a directory that can be made, also by the user who runs the server where that is not the
// one who runs the tests: t.TempDir keeps other users out.
func dataDir(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "sharedcontext-dev-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(parent, "data")
}

func (r result) want(t *testing.T, code int, inOut, inErr string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.out, inOut) || !strings.Contains(r.err, inErr) {
		t.Errorf("exit code %d, want %d\nstdout, want %q:\n%s\nstderr, want %q:\n%s", r.code, code, inOut, r.out, inErr, r.err)
	}
	if r.code != exitOK && strings.Count(r.err, "sharedcontext: ") > 1 {
		t.Errorf("more than one line of error:\n%s", r.err)
	}
}

func (r result) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		t.Fatalf("%v:\n%s", err, r.out)
	}
}
