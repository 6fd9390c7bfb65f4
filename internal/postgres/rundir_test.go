package postgres

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBaseOfSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(base string) error{
		"link": func(base string) error { return os.Symlink(os.TempDir(), base) },
		"file": func(base string) error { return os.WriteFile(base, nil, 0o600) },
		"open to others": func(base string) error {
			if err := os.Mkdir(base, 0o700); err != nil {
				return err
			}
			return os.Chmod(base, 0o777)
		},
		"another owner": func(base string) error {
			if err := os.Mkdir(base, 0o700); err != nil || os.Geteuid() != 0 {
				return err
			}
			return os.Chown(base, 54321, 54321)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "another owner" && os.Geteuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			h := testHost(t)
			if err := make(h.base); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(h.base)
			_, err := h.start(t.Context(), Options{})
			wantError(t, err, h.base, "remove it")
		})
	}
}

// A process that got the number of a server long gone is left alone.
func TestProcessIDUsedAgain(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	bystander := exec.Command("sleep", "1000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	stale := filepath.Join(h.base, "stale")
	if err := os.MkdirAll(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(bystander.Process.Pid)
	if err := os.WriteFile(filepath.Join(stale, pidFile), []byte(pid), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(stale, private), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, h, Options{})
	if _, err := os.Lstat(stale); err == nil {
		t.Error("the stale directory is left")
	}
	if err := bystander.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the bystander: %v", err)
	}
	var status unix.WaitStatus
	if reaped, _ := unix.Wait4(bystander.Process.Pid, &status, unix.WNOHANG, nil); reaped != 0 {
		t.Error("the bystander was ended")
	}
}

// Servers of one user do not disturb each other.
func TestSweepSparesTheLiving(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	first := start(t, h, Options{})
	second := start(t, h, Options{})
	query(t, first.URL("postgres"), "SELECT 1")
	stop(t, second)
	query(t, first.URL("postgres"), "SELECT 1")
}
