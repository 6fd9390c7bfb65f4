package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSharedByProcesses(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	first, second := startChild(t, h, "shared", ""), startChild(t, h, "shared", "")
	url := first.url(t)
	if other := second.url(t); other != url {
		t.Fatalf("two servers: %s and %s", url, other)
	}
	first.kill(t) // perhaps the one that started the server
	query(t, url, "SELECT 1")
	third := startChild(t, h, "shared", "")
	if other := third.url(t); other != url {
		t.Fatalf("another server, %s, while %s is in use", other, url)
	}
	second.exit(t)
	query(t, url, "SELECT 1")
	third.kill(t)
	awaitGone(t, h.base)
}

func TestSharedByManyAtOnce(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	var children []*child
	for range 8 {
		children = append(children, startChild(t, h, "shared", ""))
	}
	servers := make(chan *Server)
	for range 4 {
		go func() {
			s, err := h.shared(t.Context())
			if err != nil {
				t.Error(err)
			}
			servers <- s
		}()
	}
	urls := map[string]int{}
	for range 4 {
		if s := <-servers; s != nil {
			urls[s.URL("postgres")]++
			defer stop(t, s)
		}
	}
	for _, c := range children {
		urls[c.url(t)]++
	}
	if len(urls) != 1 {
		t.Errorf("several servers: %v", urls)
	}
	for _, c := range children {
		c.exit(t)
	}
}

func TestSharedWaitsForItsNextUser(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	h.grace = 3600
	var urls []string
	for range 3 {
		s, err := h.shared(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer signal(t, unix.SIGQUIT, postmaster(t, s.run)) // else it waits for an hour
		urls = append(urls, s.URL("postgres"))
		stop(t, s)
	}
	if urls[0] != urls[1] || urls[1] != urls[2] {
		t.Errorf("several servers: %q", urls)
	}
}

// Those who wait for a server get one even if whoever was starting it dies.
func TestSharedStarterIsKilled(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	starter := startChild(t, h, "shared", "")
	eventually(t, func() error {
		if h.supervised(t) {
			return nil
		}
		return errors.New("nobody starts a server")
	})
	waiting := startChild(t, h, "shared", "")
	starter.kill(t)
	query(t, waiting.url(t), "SELECT 1")
	waiting.exit(t)
}

func (h *host) supervised(t *testing.T) bool {
	t.Helper()
	runs, _ := filepath.Glob(filepath.Join(h.base, "*", shared))
	return len(runs) == 1 && len(supervisors(t, filepath.Dir(runs[0]))) > 0
}

// Whoever dies before there is even a supervisor leaves the start to others.
func TestSharedStarterDiesAtOnce(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	var starting *newRun
	if err := h.locked(t.Context(), func() (err error) {
		starting, err = h.create(shared)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	joined := make(chan *Server)
	go func() {
		s, err := h.shared(t.Context())
		if err != nil {
			t.Error(err)
		}
		joined <- s
	}()
	// The line says that somebody came and waits.
	if _, err := starting.reader.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	starting.abandon()
	if s := <-joined; s != nil {
		query(t, s.URL("postgres"), "SELECT 1")
		stop(t, s)
	}
}

// Nobody gets a server that another's leaving is about to end.
func TestSharedComingAndGoing(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 3 {
				s, err := h.shared(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.await(t.Context()); err != nil {
					t.Errorf("the server that was joined: %v", err)
				}
				stop(t, s)
			}
		})
	}
	wg.Wait()
}

// The next user of a server that crashed gets another one.
func TestSharedAfterACrash(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	first, err := h.shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, first)
	signal(t, unix.SIGKILL, append(supervisors(t, first.run), postmaster(t, first.run))...)
	second, err := h.shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, second)
	query(t, second.URL("postgres"), "SELECT 1")
	if _, err := os.Lstat(first.run); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", first.run, err)
	}
}

// A shared server is joined by nobody once it has decided to end, and ends only
// after those who came before.
func TestSharedName(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	s, err := h.shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(s.run, shared), filepath.Join(s.run, private)); err != nil {
		t.Fatal(err)
	}
	if !live(s.run) {
		t.Error("a server that still has users does not count as live")
	}
	other, err := h.shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, other)
	if other.run == s.run {
		t.Error("joined a server that is about to end")
	}
	query(t, s.URL("postgres"), "SELECT 1")
	stop(t, s)
}
