package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// host is where a user's servers run: the base directory has one run directory
// for each server, and exists only while there is one.
//
// A run directory holds the server's socket, log, process id and, unless they
// are to stay, its data; and a FIFO. The supervisor reads the FIFO, each user
// holds it open for writing. So the operating system itself keeps the count of
// users, and a FIFO without a reader belongs to a server that is no more.
type host struct {
	base     string
	owner    Owner
	binaries func(context.Context) (string, error)
	grace    int // how many seconds a shared server waits for its next user
}

// The names of the FIFO say who may open it.
const (
	shared  = "shared"  // any process of this user
	private = "private" // only the process that created it, or nobody any more
)

const (
	logFile = "log"
	pidFile = "pid"
)

func newHost() (*host, error) {
	owner, err := ServerOwner()
	if err != nil {
		return nil, err
	}
	return &host{
		base:     filepath.Join(tempDir(), "scpg-"+strconv.Itoa(os.Geteuid())),
		owner:    owner,
		binaries: newFinder(owner).findOrInstall,
		grace:    3, // go test links the next package's binary in between
	}, nil
}

// memoryDir is where Linux mounts a file system in memory: a database is made
// there several times faster than on disk. A container may give it few bytes.
const (
	memoryDir  = "/dev/shm"
	memoryRoom = 2 << 30
)

// tempDir returns where temporary files go. It does not ask os.TempDir: the
// path of a socket may have 103 bytes at most, and the server's user may not be
// able to enter this process's TMPDIR.
func tempDir() string {
	var stat unix.Statfs_t
	err := unix.Statfs(memoryDir, &stat)
	if err != nil || stat.Bavail*uint64(stat.Bsize) < memoryRoom || unix.Access(memoryDir, unix.W_OK) != nil {
		return "/tmp"
	}
	return memoryDir
}

// locked calls f while this process alone holds the base directory, which it
// creates if needed.
func (h *host) locked(ctx context.Context, f func() error) error {
	for {
		if err := os.Mkdir(h.base, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create the directory for servers: %w", err)
		}
		fd, err := unix.Open(h.base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s is not a directory of this user (%w): remove it", h.base, err)
		}
		base := os.NewFile(uintptr(fd), h.base)
		err = h.holding(ctx, base, f)
		_ = base.Close()
		// A supervisor that ends removes the base directory if it is empty,
		// perhaps the one that was just opened.
		if _, statErr := os.Stat(h.base); errors.Is(err, fs.ErrNotExist) && errors.Is(statErr, fs.ErrNotExist) || errors.Is(err, errReplaced) {
			continue
		}
		return err
	}
}

var errReplaced = errors.New("the base directory was replaced")

func (h *host) holding(ctx context.Context, base *os.File, f func() error) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(base.Fd()), &stat); err != nil {
		return err
	}
	if uid := int(stat.Uid); uid != h.owner.uid && uid != os.Geteuid() || stat.Mode&0o077 != 0 {
		return fmt.Errorf("%s belongs to user id %d with mode %#o, not to this user alone: remove it, or have its owner do so",
			h.base, stat.Uid, stat.Mode&0o777)
	}
	if err := flock(ctx, base); err != nil {
		return fmt.Errorf("lock %s, which another process holds: %w", h.base, err)
	}
	opened, err := base.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(h.base); err != nil || !os.SameFile(opened, now) {
		return errReplaced
	}
	if err := h.owner.Own(h.base); err != nil {
		return err
	}
	return f()
}

// flock takes the lock of an open file and waits for it no longer than ctx.
func flock(ctx context.Context, f *os.File) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// newRun is a run directory whose server has yet to be started. This process
// reads its FIFO until then, so it counts as live.
type newRun struct {
	path           string
	fifo           string // shared or private
	users          int    // the writing end of the FIFO
	reader         *os.File
	logIn, logTail *os.File
}

// abandon undoes create.
func (r *newRun) abandon() {
	for _, f := range []*os.File{r.reader, r.logIn, r.logTail} {
		if f != nil {
			_ = f.Close()
		}
	}
	if r.users > 0 {
		_ = unix.Close(r.users)
	}
	_ = remove(r.path)
}

// create makes a run directory; the base directory is locked. The FIFO comes
// last, since joining begins with it.
func (h *host) create(fifo string) (_ *newRun, err error) {
	path, err := os.MkdirTemp(h.base, "")
	if err != nil {
		return nil, fmt.Errorf("create a directory for the server: %w", err)
	}
	r := &newRun{path: path, fifo: fifo}
	defer func() {
		if err != nil {
			r.abandon()
		}
	}()
	log := filepath.Join(path, logFile)
	if r.logIn, err = os.OpenFile(log, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600); err != nil { //nolint:gosec // in a directory of our own
		return nil, err
	}
	if r.logTail, err = os.Open(log); err != nil { //nolint:gosec // in a directory of our own
		return nil, err
	}
	// Made under another name: opened by its own name before it has a reader,
	// it would be taken for a dead server's.
	making, name := filepath.Join(path, "fifo"), filepath.Join(path, fifo)
	if err := unix.Mkfifo(making, 0o600); err != nil {
		return nil, &fs.PathError{Op: "mkfifo", Path: making, Err: err}
	}
	fd, err := unix.Open(making, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: making, Err: err}
	}
	// The supervisor's read is to block.
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, err
	}
	r.reader = os.NewFile(uintptr(fd), making)
	if r.users, err = openWriter(making); err != nil {
		return nil, err
	}
	for _, p := range []string{making, log, path} {
		if err := h.owner.Own(p); err != nil {
			return nil, err
		}
	}
	return r, os.Rename(making, name)
}

// openWriter opens a FIFO that has a reader. A bare descriptor, because an
// *os.File is closed when the garbage collector finds it unused: that would
// end the server of a caller who kept only the URL.
func openWriter(fifo string) (int, error) {
	fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: fifo, Err: err}
	}
	return fd, nil
}

// live tells whether a run directory has a supervisor, or a process about to
// start one. The shared name is tried first because it can turn into the
// private one in between, never the other way round.
func live(run string) bool {
	for _, fifo := range []string{shared, private} {
		if fd, err := openWriter(filepath.Join(run, fifo)); err == nil {
			_ = unix.Close(fd)
			return true
		}
	}
	return false
}

// sweep removes what servers left behind whose supervisor was killed. The base
// directory is locked.
func (h *host) sweep(ctx context.Context) error {
	runs, err := os.ReadDir(h.base)
	if err != nil {
		return err
	}
	for _, entry := range runs {
		run := filepath.Join(h.base, entry.Name())
		if live(run) {
			continue
		}
		if err := discard(ctx, run); err != nil {
			return fmt.Errorf("clean up after an earlier server: %w", err)
		}
	}
	return nil
}

// discard stops the server that may have outlived its supervisor and removes
// its run directory.
func discard(ctx context.Context, run string) error {
	if err := stopOrphan(ctx, run); err != nil {
		return err
	}
	// The last children of a killed server may still be writing.
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := remove(run)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}

// remove removes a run directory, and the base directory with the last one.
func remove(run string) error {
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(run)) // fails as long as it is not empty
	return nil
}

// stopOrphan ends the server of a run directory if it still runs. Process ids
// are used again, so only a process whose arguments name this run directory,
// a name used once, is sent a signal.
func stopOrphan(ctx context.Context, run string) error {
	pid, ok := processID(filepath.Join(run, pidFile))
	if !ok {
		return nil
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	start := time.Now()
	sent := unix.Signal(0)
	for serves(ctx, pid, run) {
		// First a fast shutdown, in case the data are to stay; then an immediate one.
		sig := unix.SIGINT
		if time.Since(start) > 5*time.Second {
			sig = unix.SIGQUIT
		}
		if sig != sent {
			if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
				return fmt.Errorf("stop process %d, a server without its supervisor: %w", pid, err)
			}
			sent = sig
		}
		if time.Since(start) > 15*time.Second {
			return fmt.Errorf("process %d, a server without its supervisor, does not stop: end it by kill -9 %d", pid, pid)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("stop process %d, a server without its supervisor: %w", pid, context.Cause(ctx))
		}
	}
	return nil
}

// serves tells whether a process is the server of a run directory. A process
// that has ended but was not reaped has no arguments.
func serves(ctx context.Context, pid int, run string) bool {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil && runtime.GOOS != "linux" {
		args, _ = exec.CommandContext(ctx, "ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // a number
	}
	return strings.Contains(string(args), run)
}

// processID reads a file that holds the number of a process.
func processID(name string) (int, bool) {
	text, err := os.ReadFile(name) //nolint:gosec // in a directory of our own
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid, err == nil && pid > 1
}
