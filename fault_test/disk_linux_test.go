package fault_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sharedcontext/sharedcontext/v2/internal/ledger"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// mountSmallDisk mounts a file system that is soon full, for the user of the server. Where that is not allowed the test is
// skipped.
func mountSmallDisk(t *testing.T, s *server) (directory string) {
	t.Helper()
	directory = filepath.Join(s.dir, "small")
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("NOT TESTED: a full disk, as a small file system cannot be mounted here (%v): run the tests as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(directory, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	data, err := os.Stat(filepath.Join(s.dir, "data", "data"))
	if err != nil {
		t.Fatal(err)
	}
	owner := data.Sys().(*syscall.Stat_t)
	if err := os.Chown(directory, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	return directory
}

// What does not fit onto the disk is refused, and nothing else is lost. It fits when there is room again.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	ctx, f, server := setupServer(t)
	disk := mountSmallDisk(t, server)
	for _, sql := range []string{
		"CREATE TABLESPACE small LOCATION '" + disk + "'",
		"ALTER TABLE messages SET TABLESPACE small",
	} {
		if _, err := store.ExecuteUpdate(store.NewContext(ctx, f.direct), sql); err != nil {
			t.Fatal(err)
		}
	}
	var entries ledger.Ledger
	add := func(ctx context.Context, content string) error {
		_, err := f.AddMessage(ctx, f.session, message(content, ""))
		entries.Note(content, err)
		return err
	}
	content, n := "", 0
	var full error
	for full == nil && n < 1000 {
		n++
		content = fmt.Sprint(n, randomText())
		full = add(ctx, content)
	}
	wantCode(t, full, "53100")
	wantRetryable(t, full)
	if full != nil && !strings.Contains(full.Error(), "make room") {
		t.Errorf("the error does not say what to do: %v", full)
	}
	if _, err := f.GetMessages(ctx, readAll(f.session)); err != nil {
		t.Errorf("reading with a full disk: %v", err)
	}
	if _, err := entries.Check(ctx, f.direct, f.session); err != nil {
		t.Error(err)
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if err := add(ctx, content); err != nil {
		t.Errorf("with room again: %v", err)
	}
	report, err := entries.Check(ctx, f.direct, f.session)
	if err != nil {
		t.Error(err)
	}
	if report.Acknowledged != n {
		t.Errorf("%v, want %d acknowledged", report, n)
	}
	wantAudited(t, f.direct, f.session)
}

// randomText is long, and does not get shorter when PostgreSQL compresses it.
func randomText() string {
	var text strings.Builder
	for text.Len() < 50_000 {
		text.WriteString(rand.Text())
	}
	return text.String()
}
