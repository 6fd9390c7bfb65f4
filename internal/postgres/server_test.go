package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

func TestStart(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	s := start(t, h, Options{Settings: map[string]string{"work_mem": "7MB", "DateStyle": "German", "Max_Connections": "50"}})
	got := map[string]string{}
	want := map[string]string{
		"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
		"autovacuum": "on", "DateStyle": "German, DMY", "max_connections": "50", "shared_buffers": "128MB",
		"TimeZone": "UTC", "server_encoding": "UTF8", "listen_addresses": "",
		"unix_socket_permissions": "0700", "work_mem": "7MB",
	}
	for name := range want {
		got[name] = query(t, s.URL("postgres"), "SHOW "+name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got := query(t, s.URL("postgres"), "SELECT 'Z' < 'a' AND lower('É') = 'é'"); got != "t" {
		t.Error("the order is not that of C, or letters beyond ASCII are none")
	}
	var stat unix.Stat_t
	if err := unix.Stat(s.run, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Mode&0o777 != 0o700 || int(stat.Uid) != h.owner.uid {
		t.Errorf("the socket's directory has mode %#o and owner %d", stat.Mode&0o777, stat.Uid)
	}

	stop(t, s)
	if _, err := os.Lstat(h.base); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Stop, %s is left: %v", h.base, err)
	}
	if left := processes(t, h.base); len(left) > 0 {
		t.Errorf("after Stop, processes are left: %v", left)
	}
	stop(t, s) // once more does no harm
}

func TestURL(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	s := start(t, h, Options{})
	const name = `a b/ü?&%2F+"`
	query(t, s.URL("postgres"), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	if got := query(t, s.URL(name), "SELECT current_database() || ' as ' || current_user"); got != name+" as postgres" {
		t.Errorf("connected to %s", got)
	}
	if psql, err := exec.LookPath("psql"); err == nil {
		out, err := exec.Command(psql, "-X", "-At", "-c", "SELECT current_database()", s.URL(name)).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != name {
			t.Errorf("psql: %v: %s", err, got)
		}
	}
}

func TestStartOutlivesItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := testHost(t).start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, s)
	cancel()
	query(t, s.URL("postgres"), "SELECT 1")
}

func TestStopWithOpenConnections(t *testing.T) {
	t.Parallel()
	s := start(t, testHost(t), Options{})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	stop(t, s)
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection outlived the server")
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	c := startChild(t, h, "start", "")
	query(t, c.url(t), "SELECT 1")
	c.kill(t)
	awaitGone(t, h.base)
}

func TestKilledWhileStarting(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"data.new/base", "pid", ".s.PGSQL.5432"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			h := testHost(t)
			c := startChild(t, h, "start", "")
			eventually(t, func() error {
				if found, _ := filepath.Glob(filepath.Join(h.base, "*", file)); len(found) == 0 {
					return fmt.Errorf("no %s", file)
				}
				return nil
			})
			c.kill(t)
			awaitGone(t, h.base)
		})
	}
}

func TestSettingsThatAreFixed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"listen_addresses", "Listen-Addresses"} {
		_, err := testHost(t).start(t.Context(), Options{Settings: map[string]string{name: "*"}})
		wantError(t, err, "listen_addresses is fixed")
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	_, err := testHost(t).start(t.Context(), Options{Settings: map[string]string{"no_such_setting": "1"}})
	wantError(t, err, "the server ended", `unrecognized configuration parameter "no_such_setting"`)
}

func TestInitdbFails(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	bin := fakeBinaries(t, filepath.Join(openTempDir(t), "bin"), 17, "echo initdb has no wish to >&2; exit 1", "")
	h.binaries = func(context.Context) (string, error) { return bin, nil }
	_, err := h.start(t.Context(), Options{})
	wantError(t, err, "the server ended", "initdb has no wish to")
	_, err = h.shared(t.Context())
	wantError(t, err, "the server ended", "initdb has no wish to")
}

func TestStartIsCancelled(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	bin := fakeBinaries(t, filepath.Join(openTempDir(t), "bin"), 17, `mkdir "$2"; echo 17 >"$2/PG_VERSION"`, "echo it only sleeps; exec sleep 1000")
	h.binaries = func(context.Context) (string, error) { return bin, nil }
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := h.start(ctx, Options{})
		failed <- err
	}()
	eventually(t, func() error {
		logs, _ := filepath.Glob(filepath.Join(h.base, "*", logFile))
		for _, name := range logs {
			if text, _ := os.ReadFile(name); strings.Contains(string(text), "sleeps") {
				return nil
			}
		}
		return errors.New("not started")
	})
	cancel()
	err := <-failed
	wantError(t, err, "not ready", "it only sleeps")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v is not context.Canceled", err)
	}
}

// A server that crashes takes its supervisor and its files with it.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	s := start(t, h, Options{})
	signal(t, unix.SIGKILL, postmaster(t, s.run))
	awaitGone(t, h.base)
	stop(t, s)
}

func TestSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	t.Run("then Stop", func(t *testing.T) {
		t.Parallel()
		s := start(t, testHost(t), Options{})
		signal(t, unix.SIGKILL, supervisors(t, s.run)...)
		awaitDead(t, s.run)
		query(t, s.URL("postgres"), "SELECT 1")
		stop(t, s)
	})
	t.Run("its watch only, then Stop", func(t *testing.T) {
		t.Parallel()
		s := start(t, testHost(t), Options{})
		for _, pid := range supervisors(t, s.run) {
			if pid != s.supervisor.Process.Pid {
				signal(t, unix.SIGKILL, pid)
			}
		}
		awaitDead(t, s.run)
		query(t, s.URL("postgres"), "SELECT 1")
		stop(t, s)
	})
	t.Run("then another Start", func(t *testing.T) {
		t.Parallel()
		h := testHost(t)
		c := startChild(t, h, "start", "")
		c.url(t)
		runs, _ := filepath.Glob(h.base + "/*")
		orphan := postmaster(t, runs[0])
		signal(t, unix.SIGKILL, supervisors(t, runs[0])...)
		c.kill(t)
		awaitDead(t, runs[0])
		s := start(t, h, Options{})
		awaitGone(t, runs[0])
		if postmaster(t, s.run) == orphan {
			t.Error("the orphan is in use")
		}
	})
}

// awaitDead waits until nobody watches over a server any more.
func awaitDead(t *testing.T, run string) {
	t.Helper()
	eventually(t, func() error {
		if live(run) {
			return errors.New("its FIFO has a reader")
		}
		return nil
	})
}

// Descriptors that this process inherited must not be kept open by a server.
func TestInheritedDescriptors(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	t.Parallel()
	name := filepath.Join(t.TempDir(), "inherited")
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_RDWR, 0o600) // without O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	s := start(t, testHost(t), Options{})
	// Only the watch reads the FIFO, once: closing that tells the users of the end.
	eventually(t, func() error {
		readers := 0
		for pid, args := range processes(t, s.run) {
			links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
			if err != nil || len(links) == 0 {
				return fmt.Errorf("cannot read the descriptors of %s: %w", args, err)
			}
			for _, link := range links {
				switch target, _ := os.Readlink(link); target {
				case name:
					t.Errorf("%s has %s open", args, target)
				case filepath.Join(s.run, private):
					readers++
				}
			}
		}
		if readers != 1 {
			return fmt.Errorf("the FIFO is open %d times", readers)
		}
		return nil
	})
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}
