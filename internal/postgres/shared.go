package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Shared returns the server that all processes of this user share, and starts
// it if there is none: go test runs a binary per package, several at once, and
// a server for each would cost more than the tests. Call Stop to leave it. The
// server ends a few seconds after its last user, however that one ended, so
// that the next package finds it running.
func Shared(ctx context.Context) (*Server, error) {
	h, err := newHost()
	if err != nil {
		return nil, fmt.Errorf("postgres: shared server: %w", err)
	}
	s, err := h.shared(ctx)
	if err != nil {
		return nil, fmt.Errorf("postgres: shared server: %w", err)
	}
	return s, nil
}

func (h *host) shared(ctx context.Context) (*Server, error) {
	for {
		s := h.join()
		var r *newRun
		if s == nil {
			// Before the lock, since it may be a download.
			bin, err := h.binaries(ctx)
			if err != nil {
				return nil, err
			}
			if err := h.locked(ctx, func() (err error) {
				if s = h.join(); s != nil {
					return nil
				}
				if err = h.sweep(ctx); err == nil {
					r, err = h.create(shared)
				}
				return err
			}); err != nil {
				return nil, err
			}
			if r != nil {
				if s, err = h.supervise(ctx, r, bin, nil, Options{}); err != nil {
					return nil, err
				}
			}
		}
		err := s.awaitOrStop(ctx)
		if err == nil {
			return s, nil
		}
		// Whoever joined a server that then ended tries again, and learns at
		// first hand if it cannot be started.
		if r != nil || !errors.Is(err, errGone) {
			return nil, err
		}
	}
}

// join takes hold of the shared server, or returns nil if none is there. The
// server may not answer yet.
//
// No lock is needed. As long as the FIFO has a reader and carries the shared
// name, the supervisor has not decided to end; before it ends it takes the
// name away and then looks once more for users.
func (h *host) join() *Server {
	runs, _ := os.ReadDir(h.base)
	for _, entry := range runs {
		run := filepath.Join(h.base, entry.Name())
		fd, err := openWriter(filepath.Join(run, shared))
		if err != nil {
			continue
		}
		log, err := os.Open(filepath.Join(run, logFile)) //nolint:gosec // in a directory of our own
		if err != nil {
			_ = unix.Close(fd)
			continue
		}
		return &Server{run: run, users: fd, log: log}
	}
	return nil
}
