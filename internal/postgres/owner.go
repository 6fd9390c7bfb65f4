package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// Owner is the user that runs the server and owns its files: this process's
// own, but another one when that is root, as which PostgreSQL refuses to run.
type Owner struct {
	uid, gid int
	name     string // empty for this process's own user
}

// ServerOwner returns the user for servers that this process starts.
func ServerOwner() (Owner, error) {
	if uid := os.Geteuid(); uid != 0 {
		return Owner{uid: uid, gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return Owner{}, fmt.Errorf("user %s: %w", name, err)
		}
		return Owner{uid: uid, gid: gid, name: name}, nil
	}
	return Owner{}, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it instead: create one, or run as an ordinary user")
}

// Command returns a command run by the server's user. It starts in a directory
// that every user can enter, and takes nothing from this process's environment
// that could change a server: PGDATA, PGPORT, the language of messages.
func (o Owner) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // a shell, or the programs that the user chose
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LC_ALL=C", "TZ=UTC"}
	if path, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+path) // binaries built by hand may need it
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if o.name != "" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return cmd
}

// Own gives a file to the server's user.
func (o Owner) Own(name string) error {
	if o.name == "" {
		return nil
	}
	return os.Lchown(name, o.uid, o.gid)
}
