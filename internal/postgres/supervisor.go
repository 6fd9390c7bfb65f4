package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

//go:embed supervisor.sh
var supervisorScript string

// supervise starts the supervisor of a run, which starts the server. The data
// live in dir, or in the run directory if that is nil.
func (h *host) supervise(ctx context.Context, r *newRun, bin string, dir *os.File, opts Options) (_ *Server, err error) {
	defer func() {
		if err != nil {
			r.abandon()
		}
	}()
	settings, err := opts.settings(r.path)
	if err != nil {
		return nil, err
	}
	data, stop, grace, sync := filepath.Join(r.path, "data"), "QUIT", 0, "--no-sync"
	if dir != nil {
		data, stop = filepath.Join(dir.Name(), "data"), "INT"
	}
	if opts.Durable {
		sync = ""
	}
	if r.fifo == shared {
		grace = h.grace
	}
	args := append([]string{
		"-c", supervisorScript, "sharedcontext-postgres",
		bin, r.path, data, strconv.Itoa(grace), stop, sync,
	}, settings...)

	// The FIFO alone decides when it ends.
	cmd := h.owner.Command(context.WithoutCancel(ctx), "/bin/sh", args...)
	// The pipes of this process would keep its parent waiting for their end.
	cmd.Stdout, cmd.Stderr = r.logIn, r.logIn
	cmd.ExtraFiles = []*os.File{r.reader}
	if dir != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, dir)
	}
	// Its own session: an interrupt from the terminal is for the users.
	cmd.SysProcAttr.Setsid = true
	if err := keepDescriptors(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		if h.owner.name != "" {
			err = fmt.Errorf("as user %s, since PostgreSQL refuses root: %w", h.owner.name, err)
		}
		return nil, fmt.Errorf("start the supervisor: %w", err)
	}
	_ = r.reader.Close()
	_ = r.logIn.Close()
	s := &Server{run: r.path, users: r.users, log: r.logTail}
	if r.fifo == shared {
		// Nobody may be there to wait for it when it ends.
		return s, cmd.Process.Release()
	}
	s.supervisor, s.ended = cmd, make(chan struct{})
	return s, nil
}

// keepDescriptors keeps this process's descriptors from its children. Those
// that Go opened are safe already, but some may have been inherited: a shared
// server would hold on to another program's pipe or lock long after this
// process.
func keepDescriptors() error {
	names, err := os.ReadDir("/dev/fd")
	if err != nil {
		return fmt.Errorf("list open descriptors: %w", err)
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name.Name())
		if err != nil || fd <= 2 {
			continue
		}
		unix.CloseOnExec(fd)
	}
	return nil
}
