package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// TestDev runs the server twice in one directory: the data stay.
func TestDev(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var id string
	for round := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out, outWriter := io.Pipe()
		var errText strings.Builder
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"dev", "--dir", dir}, streams{strings.NewReader(""), outWriter, &errText})
			outWriter.Close()
		}()
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("%v: exit code %d\n%s", err, <-code, errText.String())
		}
		url := strings.TrimSuffix(strings.TrimPrefix(line, "export DATABASE_URL='"), "'\n")
		if "export DATABASE_URL='"+url+"'\n" != line {
			t.Fatalf("line %q", line)
		}
		err = withConfig(t.Context(), store.Config{URL: url}, func(ctx context.Context, manager *store.Manager) error {
			if status := store.HealthCheck(ctx); !status.Healthy() {
				t.Errorf("status %+v", status)
			}
			if round == 0 {
				session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "to stay", CreatedBy: "tester"})
				id = session.ID
				return err
			}
			_, err := manager.GetSession(ctx, id, store.Reader{AgentID: "tester"})
			return err
		})
		if err != nil {
			t.Error(err)
		}
		cancel()
		if got := <-code; got != exitOK {
			t.Errorf("exit code %d\n%s", got, errText.String())
		}
		if text := errText.String(); !strings.Contains(text, "private PostgreSQL ") || !strings.Contains(text, "stopping\n") {
			t.Errorf("stderr:\n%s", text)
		}
	}
}

func TestDevCommand(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	dev := func(command ...string) result {
		return call(t, append([]string{"dev", "--dir", dir, "--"}, command...)...)
	}
	dev("true").want(t, exitOK, "", "")
	dev("sh", "-c", `echo "url $DATABASE_URL"; exit 7`).want(t, 7, "url postgres://", "")
	dev("sh", "-c", `kill -KILL $$`).want(t, 128+int(syscall.SIGKILL), "", "")
	dev("there-is-no-such-program").want(t, exitFailure, "", "there-is-no-such-program")
}

// TestDevDefaultDir keeps version control away from the data, in the directory it chooses itself only.
func TestDevDefaultDir(t *testing.T) {
	parent := filepath.Dir(dataDir(t))
	t.Chdir(parent)
	call(t, "dev", "--", "true").want(t, exitOK, "", "")
	if text, err := os.ReadFile(filepath.Join(parent, devDir, ".gitignore")); err != nil || string(text) != "*\n" {
		t.Errorf("%q, %v", text, err)
	}
	call(t, "dev", "--dir", "other", "--", "true").want(t, exitOK, "", "")
	if _, err := os.Stat(filepath.Join(parent, "other", ".gitignore")); !os.IsNotExist(err) {
		t.Error("another directory has got a .gitignore")
	}
}

// TestDevSignals has signals reach the right process: the command that runs, or dev itself.
func TestDevSignals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, dir string
		command   []string
		signal    syscall.Signal
		ready     string // begins the line after which the signal comes
		code      int
	}{
		{"command terminated", dataDir(t), []string{"--", "sh", "-c", `trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done`},
			syscall.SIGTERM, "ready", 9},
		{"command interrupted, no terminal", dataDir(t), []string{"--", "sh", "-c", `trap 'exit 8' INT; echo ready; while :; do sleep 0.05; done`},
			syscall.SIGINT, "ready", 8},
		{"server interrupted", dataDir(t), nil, syscall.SIGINT, "export ", exitOK},
		{"server terminated", dataDir(t), nil, syscall.SIGTERM, "export ", exitOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := process(t, append([]string{"dev", "--dir", test.dir}, test.command...)...)
			var errText strings.Builder
			cmd.Stderr = &errText
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, test.ready) {
				t.Errorf("line %q, %v", line, err)
			}
			if err := cmd.Process.Signal(test.signal); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // the code tells
			if got := cmd.ProcessState.ExitCode(); got != test.code {
				t.Errorf("exit code %d, want %d\n%s", got, test.code, errText.String())
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	if got := shellQuote(`it's $HOME`); got != `'it'\''s $HOME'` {
		t.Error(got)
	}
}

// TestDevTemporary keeps nothing, and takes no directory.
func TestDevTemporary(t *testing.T) {
	t.Parallel()
	address := func() result {
		return call(t, "dev", "--temporary", "--", "sh", "-c", `echo "$DATABASE_URL"`)
	}
	first, second := address(), address()
	first.want(t, exitOK, "postgres://", "")
	if first.out == second.out {
		t.Errorf("two temporary servers have the address %s", first.out)
	}
	call(t, "dev", "--temporary", "--dir", "x", "--", "true").want(t, exitUsage, "", "temporary")
}
