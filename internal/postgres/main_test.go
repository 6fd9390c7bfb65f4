package postgres

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary runs itself as another user of a server, one that can be
// killed. These variables tell it so.
const (
	roleEnv = "SCPG_TEST_ROLE" // start or shared
	baseEnv = "SCPG_TEST_BASE"
	dirEnv  = "SCPG_TEST_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := runChild(role); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// runChild starts or joins a server, prints its URL, and stops it when its
// standard input ends.
func runChild(role string) error {
	h, err := newHost()
	if err != nil {
		return err
	}
	h.base, h.grace = os.Getenv(baseEnv), 0
	ctx := context.Background()
	var s *Server
	if role == "shared" {
		s, err = h.shared(ctx)
	} else {
		dir := os.Getenv(dirEnv)
		s, err = h.start(ctx, Options{Dir: dir, Durable: dir != ""})
	}
	if err != nil {
		return err
	}
	fmt.Println(s.URL("postgres"))
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Stop(ctx)
}

// child is a process that uses a server.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Reader
}

func startChild(t *testing.T, h *host, role, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, baseEnv+"="+h.base, dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &child{cmd: cmd, stdin: stdin, lines: bufio.NewReader(stdout)}
}

// url waits until the child has its server.
func (c *child) url(t *testing.T) string {
	t.Helper()
	line, err := c.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the child has no server: %v", err)
	}
	return strings.TrimSpace(line)
}

// kill ends the child without a chance to clean up.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
}

// exit lets the child stop its server and end.
func (c *child) exit(t *testing.T) {
	t.Helper()
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("child: %v", err)
	}
}

var testBinaries = sync.OnceValues(func() (string, error) {
	h, err := newHost()
	if err != nil {
		return "", err
	}
	return h.binaries(context.Background())
})

// testHost returns a host of the test's own. At the end of the test nothing
// may be left of it: no process and no directory.
func testHost(t *testing.T) *host {
	t.Helper()
	base, err := os.MkdirTemp("/tmp", "scpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	h, err := newHost()
	if err != nil {
		t.Fatal(err)
	}
	h.base, h.grace = base, 0
	h.binaries = func(context.Context) (string, error) { return testBinaries() }
	t.Cleanup(func() {
		awaitGone(t, base)
		_ = os.RemoveAll(base)
	})
	return h
}

// awaitGone waits until neither a path nor a process that uses it is left.
func awaitGone(t *testing.T, path string) {
	t.Helper()
	eventually(t, func() error {
		if left := processes(t, path); len(left) > 0 {
			return fmt.Errorf("processes are left: %v", left)
		}
		if _, err := os.Lstat(path); err == nil {
			files, _ := filepath.Glob(path + "/*/*")
			return fmt.Errorf("%s is left: %q", path, files)
		}
		return nil
	})
}

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Errorf("still after a minute: %v", err)
			return
		}
	}
}

// processes returns the arguments of the processes that name a path in them or
// work below it, by process id. A process that waits to be reaped has none.
func processes(t *testing.T, path string) map[int]string {
	t.Helper()
	found := map[int]string{}
	if runtime.GOOS != "linux" {
		out, err := exec.Command("ps", "-axww", "-o", "pid=,args=").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			number, args, _ := strings.Cut(strings.TrimSpace(line), " ")
			if pid, err := strconv.Atoi(number); err == nil && strings.Contains(args, path) {
				found[pid] = args
			}
		}
		return found
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile(dir + "/cmdline")
		cwd, _ := os.Readlink(dir + "/cwd")
		if len(args) > 0 && (strings.Contains(string(args), path) || strings.HasPrefix(cwd, path)) {
			found[pid] = strings.ReplaceAll(string(args), "\x00", " ")
		}
	}
	return found
}

// supervisors returns the processes of a run's supervisor.
func supervisors(t *testing.T, run string) []int {
	t.Helper()
	var pids []int
	for pid, args := range processes(t, run) {
		if strings.Contains(args, "sharedcontext-postgres") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func postmaster(t *testing.T, run string) int {
	t.Helper()
	pid, ok := processID(filepath.Join(run, pidFile))
	if !ok || !serves(t.Context(), pid, run) {
		t.Fatalf("%s has no server", run)
	}
	return pid
}

func signal(t *testing.T, sig unix.Signal, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			t.Fatal(err)
		}
	}
}

// openTempDir returns a directory that the server's user can enter too, unlike
// t.TempDir for root.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "scpg-files-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, h *host, opts Options) *Server {
	t.Helper()
	s, err := h.start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// query returns the first column of a statement's first row, as text.
func query(t *testing.T, url, statement string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	// The simple protocol takes several statements at once.
	results, err := conn.PgConn().Exec(t.Context(), statement).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	last := results[len(results)-1]
	if len(last.Rows) == 0 {
		return ""
	}
	return string(last.Rows[0][0])
}
