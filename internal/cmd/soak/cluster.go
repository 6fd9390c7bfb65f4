package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
)

// cluster is a server that can be killed, behind a proxy that can break connections and stays where it is.
type cluster struct {
	dir    string
	server *postgres.Server
	proxy  *faultproxy.Proxy
}

// settings let what was acknowledged survive a server that is killed.
var settings = map[string]string{"synchronous_commit": "on", "full_page_writes": "on"}

func startCluster(ctx context.Context) (*cluster, error) {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the server runs as another user when this is root
		return nil, err
	}
	c := &cluster{dir: dir}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	network, address := c.address()
	c.proxy, err = faultproxy.Start(network, address) //nolint:contextcheck // the proxy goes on when ctx ends
	return c, err
}

func (c *cluster) start(ctx context.Context) (err error) {
	c.server, err = postgres.Start(ctx, postgres.Options{Dir: filepath.Join(c.dir, "data"), Settings: settings})
	return err
}

// address is where the server listens, which changes with each start.
func (c *cluster) address() (network, address string) {
	config, err := pgx.ParseConfig(c.server.URL("postgres"))
	if err != nil {
		panic(err) // its own URL
	}
	return pgconn.NetworkAddress(config.Host, config.Port)
}

// url leads to the server through the proxy.
func (c *cluster) url() string {
	u, err := url.Parse(c.server.URL("postgres"))
	if err != nil {
		panic(err)
	}
	return "postgres://" + u.User.String() + "@" + c.proxy.Addr() + "/postgres?sslmode=disable"
}

// kill ends the server at once, as "pg_ctl stop -m immediate" does, and starts it again.
func (c *cluster) kill(ctx context.Context) error {
	u, err := url.Parse(c.server.URL("postgres"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(u.Query().Get("host"), "pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return err
	}
	if err := c.server.Stop(ctx); err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	c.proxy.Forward(c.address())
	return nil
}

func (c *cluster) stop(ctx context.Context) error {
	c.proxy.Close()
	return errors.Join(c.server.Stop(context.WithoutCancel(ctx)), os.RemoveAll(c.dir))
}

// fault does one thing that happens to servers and networks, takes it back, and says what it was.
func (c *cluster) fault(ctx context.Context, random *rand.Rand) (string, error) {
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	switch random.IntN(8) {
	case 0, 1:
		c.proxy.CutAll()
		return "cuts of all connections", nil
	case 2:
		c.proxy.Cut("INSERT INTO messages", faultproxy.WhileRunning)
		return "cuts of a statement", nil
	case 3:
		c.proxy.Cut("INSERT INTO messages", faultproxy.BeforeAnswer)
		return "lost answers", nil
	case 4:
		c.proxy.Cut("commit", faultproxy.BeforeAnswer)
		return "lost commits", nil
	case 5:
		c.proxy.Delay(time.Duration(5+random.IntN(45)) * time.Millisecond)
		pause(2 * time.Second)
		c.proxy.Delay(0)
		return "slow networks", nil
	case 6:
		c.proxy.Silence()
		pause(time.Duration(1+random.IntN(3)) * time.Second)
		c.proxy.Resume()
		return "silences", nil
	default:
		if err := c.kill(ctx); err != nil {
			return "", fmt.Errorf("kill the server: %w", err)
		}
		return "killed servers", nil
	}
}
