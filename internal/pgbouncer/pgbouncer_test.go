package pgbouncer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
)

// roleEnv makes of this test binary a process that has a pooler and can be killed.
const roleEnv = "PGBOUNCER_TEST_SERVER"

func TestMain(m *testing.M) {
	if server := os.Getenv(roleEnv); server != "" {
		pooler, err := Start(context.Background(), Options{Server: server})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(pooler.run)
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		return
	}
	goleak.VerifyTestMain(m)
}

func server(t *testing.T) string {
	t.Helper()
	s, err := postgres.Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s.URL("postgres")
}

func start(t *testing.T, opts Options) *Pooler {
	t.Helper()
	p, err := Start(t.Context(), opts)
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// connect returns a connection through the pooler.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// ask returns the value that the last of some statements gives. They are sent as text.
func ask(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return string(results[len(results)-1].Rows[0][0])
}

// awaitGone waits until neither the directory of a pooler nor a process that works in it is left.
func awaitGone(t *testing.T, run string) {
	t.Helper()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	limit := time.After(time.Minute)
	for {
		_, err := os.Lstat(run)
		left := processes(t, run)
		if errors.Is(err, os.ErrNotExist) && len(left) == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatalf("still there: %s (%v), processes %q", run, err, left)
		}
	}
}

// processes returns the arguments of the processes that name a directory.
func processes(t *testing.T, run string) (found []string) {
	t.Helper()
	out, err := exec.Command("ps", "-axww", "-o", "args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, run) {
			found = append(found, line)
		}
	}
	return found
}

// Two clients share one connection of the server between their transactions, and wait for it during them.
func TestTransactionMode(t *testing.T) {
	t.Parallel()
	p := start(t, Options{Server: server(t), PoolSize: 1})
	first, second := connect(t, p.URL("postgres")), connect(t, p.URL("postgres"))
	const pid = "SELECT pg_backend_pid()"
	if a, b := ask(t, first, pid), ask(t, second, pid); a != b {
		t.Errorf("two clients have the processes %s and %s", a, b)
	}
	ask(t, first, "BEGIN; "+pid)
	waits := make(chan error, 1)
	go func() {
		_, err := second.PgConn().Exec(context.Background(), pid).ReadAll()
		waits <- err
	}()
	for waiting := ""; waiting != "1"; {
		pools, err := p.Console(t.Context(), "SHOW POOLS")
		if err != nil {
			t.Fatal(err)
		}
		for _, pool := range pools {
			if pool["database"] == "postgres" {
				waiting = pool["cl_waiting"]
			}
		}
	}
	select {
	case err := <-waits:
		t.Fatalf("the second client did not wait: %v", err)
	default:
	}
	ask(t, first, "ROLLBACK; "+pid)
	if err := <-waits; err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	p := start(t, Options{Server: server(t), Settings: map[string]string{"pool_mode": "session"}})
	first, second := connect(t, p.URL("postgres")), connect(t, p.URL("postgres"))
	const pid = "SELECT pg_backend_pid()"
	if a, b := ask(t, first, pid), ask(t, second, pid); a == b {
		t.Errorf("in session mode two clients share process %s", a)
	}
	major, minor, err := Version(t.Context())
	if err != nil || major < 1 || minor < 1 {
		t.Errorf("version %d.%d, %v", major, minor, err)
	}

	_, err = Start(t.Context(), Options{Server: server(t), Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("an unknown setting: %v", err)
	}
	if _, err := Start(t.Context(), Options{Server: "postgres://h:port/"}); err == nil {
		t.Error("it started before a server whose URL cannot be read")
	}
}

// A restart cuts the clients and keeps the address; a stop leaves nothing.
func TestRestartAndStop(t *testing.T) {
	t.Parallel()
	p := start(t, Options{Server: server(t)})
	address := p.URL("postgres")
	conn := connect(t, address)
	ask(t, conn, "SELECT 1")
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection outlived the restart")
	}
	ask(t, connect(t, address), "SELECT 1")
	for range 2 {
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	awaitGone(t, p.run)
	if p.URL("postgres") != address {
		t.Error("the address has changed")
	}
}

// Nothing is left of a pooler whose process is killed, nor of one that is killed itself.
func TestKilled(t *testing.T) {
	t.Parallel()
	start(t, Options{Server: server(t)}) // skips where there is none

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+server(t))
	cmd.Stderr = os.Stderr
	stdin, stdinErr := cmd.StdinPipe()
	stdout, stdoutErr := cmd.StdoutPipe()
	if err := errors.Join(stdinErr, stdoutErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	run, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	run = strings.TrimSpace(run)
	if len(processes(t, run)) == 0 {
		t.Errorf("no process works in %s", run)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	awaitGone(t, run)

	p := start(t, Options{Server: server(t)})
	if err := p.supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, p.run)
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if bin, err := find(filepath.Join(dir, "pgbouncer")); !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "make test-deps") {
		t.Errorf("without a program: %q, %v", bin, err)
	}
	program := filepath.Join(dir, "pgbouncer")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pgbouncer", program} {
		if bin, err := find("missing", name); bin != program || err != nil {
			t.Errorf("%s is found as %q, %v", name, bin, err)
		}
	}
}
