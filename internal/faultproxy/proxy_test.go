package faultproxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers each line with its name and the line. The channel gets what it has heard.
func server(t *testing.T, network, address, name string) (net.Listener, <-chan string) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 100)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					heard <- lines.Text()
					fmt.Fprintf(conn, "%s: %s\n", name, lines.Text())
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener, heard
}

func start(t *testing.T) (*faultproxy.Proxy, <-chan string) {
	t.Helper()
	listener, heard := server(t, "tcp", "127.0.0.1:0", "first")
	p, err := faultproxy.Start("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, heard
}

type client struct {
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, p *faultproxy.Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) ask(line string) (string, error) {
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	return c.answers.ReadString('\n')
}

func (c *client) want(t *testing.T, line, answer string) {
	t.Helper()
	got, err := c.ask(line)
	if err != nil || got != answer+"\n" {
		t.Errorf("%s: got %q and error %v, want %q", line, got, err, answer)
	}
}

// wantCut fails unless the connection is gone.
func (c *client) wantCut(t *testing.T, line string) {
	t.Helper()
	if answer, err := c.ask(line); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
		t.Errorf("%s: got %q and error %v, want a cut connection", line, answer, err)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		when  faultproxy.Moment
		heard bool
	}{
		"before the server": {faultproxy.BeforeServer, false},
		"while running":     {faultproxy.WhileRunning, true},
		"before the answer": {faultproxy.BeforeAnswer, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, heard := start(t)
			fired := p.Cut("now", test.when)
			c, other := dial(t, p), dial(t, p)
			c.want(t, "hello", "first: hello")
			c.wantCut(t, "and now")
			<-fired
			other.want(t, "now again", "first: now again") // once is enough
			if got := <-heard; got != "hello" {
				t.Errorf("the server heard %q", got)
			}
			want := "now again"
			if test.heard {
				want = "and now"
			}
			if got := <-heard; got != want && test.when != faultproxy.WhileRunning { // by then the two may come in any order
				t.Errorf("the server heard %q, want %q", got, want)
			}
		})
	}
}

func TestNever(t *testing.T) {
	t.Parallel()
	p, _ := start(t)
	seen := p.Cut("now", faultproxy.Never)
	c := dial(t, p)
	c.want(t, "hello", "first: hello")
	select {
	case <-seen:
		t.Error("seen too early")
	default:
	}
	c.want(t, "now", "first: now")
	<-seen
}

func TestHold(t *testing.T) {
	t.Parallel()
	p, heard := start(t)
	held, release := p.Hold("wait")
	c := dial(t, p)
	fmt.Fprintln(c, "wait")
	<-held
	dial(t, p).want(t, "other", "first: other")
	release()
	if answer, err := c.answers.ReadString('\n'); answer != "first: wait\n" {
		t.Errorf("when it was released: %q, %v", answer, err)
	}
	if first, second := <-heard, <-heard; first != "other" || second != "wait" {
		t.Errorf("the server heard %q before %q", first, second)
	}
	held, _ = p.Hold("wait")
	fmt.Fprintln(c, "wait")
	<-held
	p.CutAll()
	c.wantCut(t, "gone")
}

func TestCutAll(t *testing.T) {
	t.Parallel()
	p, _ := start(t)
	one, two := dial(t, p), dial(t, p)
	one.want(t, "1", "first: 1")
	two.want(t, "2", "first: 2")
	if cut := p.CutAll(); cut != 2 {
		t.Errorf("%d connections were cut, want 2", cut)
	}
	one.wantCut(t, "1")
	two.wantCut(t, "2")
	dial(t, p).want(t, "3", "first: 3")
}

func TestForward(t *testing.T) {
	t.Parallel()
	p, _ := start(t)
	before := dial(t, p)
	before.want(t, "1", "first: 1")
	dir, err := os.MkdirTemp("", "proxy") // t.TempDir() is too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	second, _ := server(t, "unix", filepath.Join(dir, "s"), "second")
	p.Forward("unix", second.Addr().String())
	dial(t, p).want(t, "2", "second: 2")
	before.want(t, "3", "first: 3")
	p.Forward("unix", filepath.Join(dir, "nobody"))
	dial(t, p).wantCut(t, "4")
}

func TestSilence(t *testing.T) {
	t.Parallel()
	p, heard := start(t)
	c := dial(t, p)
	c.want(t, "1", "first: 1")
	<-heard
	p.Silence()
	answered := make(chan string)
	go func() {
		answer, _ := c.ask("2")
		answered <- answer
	}()
	p.CutAll() // also what is silent
	if answer := <-answered; answer != "" {
		t.Errorf("got %q in the silence", answer)
	}
	after := dial(t, p)
	fmt.Fprintln(after, "4")
	p.Resume()
	if answer, err := after.answers.ReadString('\n'); answer != "first: 4\n" {
		t.Errorf("after the silence: %q, %v", answer, err)
	}
	if got := <-heard; got != "4" {
		t.Errorf("the server heard %q", got)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	p, heard := start(t)
	c := dial(t, p)
	c.want(t, "1", "first: 1")
	<-heard
	p.Delay(time.Hour)
	fmt.Fprintln(c, "2")
	if cut := p.CutAll(); cut != 1 { // also what waits
		t.Errorf("%d connections were cut, want 1", cut)
	}
	p.Delay(time.Millisecond)
	dial(t, p).want(t, "3", "first: 3")
	if got := <-heard; got != "3" {
		t.Errorf("the server heard %q", got)
	}
}
