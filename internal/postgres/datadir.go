package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// openDir prepares a directory for lasting data and locks it. The lock is
// passed to the supervisor, so it is held until the server has ended.
func (h *host) openDir(ctx context.Context, name string) (*os.File, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // the server's user must get through
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	if err := h.owner.takeOver(ctx, name); err != nil {
		return nil, err
	}
	dir, err := os.Open(name) //nolint:gosec // the caller's own choice
	if err != nil {
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	// A server that was just told to stop may need a moment more.
	wait, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := flock(wait, dir); err != nil {
		_ = dir.Close()
		return nil, fmt.Errorf("%s is in use by another server: stop that one or choose another directory (%w)", name, err)
	}
	return dir, nil
}

// takeOver gives an empty directory to the server's user and makes sure that
// this user can work in it. Files that are there belong to somebody: they are
// left alone.
func (o Owner) takeOver(ctx context.Context, dir string) error {
	if o.name == "" {
		return nil
	}
	empty, err := isEmpty(dir)
	if err != nil {
		return fmt.Errorf("read the data directory: %w", err)
	}
	if empty {
		if err := o.Own(dir); err != nil {
			return err
		}
	}
	// Asked of the system, as that user: ownership and modes on the whole way
	// there, access lists and mounts all have a say.
	check := o.Command(ctx, "/bin/sh", "-c", `cd -- "$1" && test -r . && test -w .`, "sh", dir)
	if err := check.Run(); err != nil {
		return fmt.Errorf("user %s, who runs the server because PostgreSQL refuses root, cannot use %s: "+
			"choose a directory open to %[1]s, or chown -R %[1]s it, or run as an ordinary user (%[3]w)", o.name, dir, err)
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir) //nolint:gosec // the caller's own choice
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
