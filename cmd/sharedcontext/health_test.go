package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestHealth(t *testing.T) {
	withDatabase(t, storetest.Config(t).URL)
	call(t, "health").want(t, exitOK, "status       healthy\n", "")
	r := call(t, "health", "--json", "--timeout", "1m")
	r.want(t, exitOK, `"healthy"`, "")
	var status store.HealthStatus
	r.decode(t, &status)
	if !status.DatabaseInitialized || status.DatabaseSizeMB <= 0 || status.ConnectionCount != 1 {
		t.Errorf("status %+v", status)
	}
	call(t, "health", "--timeout", "0s").want(t, exitUsage, "", "--timeout 0s: must be more than 0")
	call(t, "health", "--timeout", "5").want(t, exitUsage, "", "--timeout")
}

func TestUnhealthy(t *testing.T) {
	for _, test := range []struct {
		name, url string
		code      int
		problem   string
	}{
		{"not migrated", storetest.EmptyConfig(t).URL, exitSchema, "migrate up"},
		{"behind", behind(t), exitSchema, "migrate up"},
		{"unreachable", unreachable, exitUnreachable, "check that the server runs"},
		{"silent when connecting", silentServer(t), exitUnreachable, "the server did not answer"},
		{"silent when asked", silentAfter(t, storetest.Config(t).URL, "pg_database_size"), exitUnreachable, "the server did not answer in time"},
		{"silent about the schema", silentAfter(t, storetest.Config(t).URL, "schema_migrations"), exitUnreachable, "the server did not answer in time"},
		{"not configured", "", exitFailure, "DATABASE_URL: is not set"},
		{"unusable", "sqlite:///x.db", exitFailure, "DATABASE_URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			withDatabase(t, test.url)
			t.Setenv("DATABASE_TIMEOUT", "300")
			asText, asJSON := start(t, "health", "--timeout", "2s"), start(t, "health", "--json", "--timeout", "2s")
			text, object := promptly(t, asText), promptly(t, asJSON)
			text.want(t, test.code, "status       unhealthy\n", test.problem)
			object.want(t, test.code, test.problem, "")
			var status store.HealthStatus
			object.decode(t, &status)
			if status.Status != "unhealthy" || status.DatabaseInitialized || !strings.Contains(status.Error, test.problem) {
				t.Errorf("status %+v", status)
			}
			if all := text.out + text.err + object.out + object.err; strings.Contains(all, "sEcReT") {
				t.Errorf("the password is shown:\n%s", all)
			}
		})
	}
}

// start calls a command in the background.
func start(t *testing.T, args ...string) <-chan result {
	t.Helper()
	done := make(chan result, 1)
	go func() { done <- callContext(t.Context(), args...) }()
	return done
}

// promptly returns the result of a command that must not wait as long as DATABASE_TIMEOUT.
func promptly(t *testing.T, done <-chan result) result {
	t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(time.Minute):
		t.Fatal("the command outlives its --timeout by far")
		return result{}
	}
}

// behind returns the URL of a database at the migration before the last.
func behind(t *testing.T) string {
	t.Helper()
	config := storetest.Config(t)
	withDatabase(t, config.URL)
	call(t, "migrate", "down", "--yes").want(t, exitOK, "1 to apply", "")
	return config.URL
}

// silentServer returns the URL of a server that takes connections and says nothing.
func silentServer(t *testing.T) string {
	t.Helper()
	return "postgres://user:sEcReT-word@" + listen(t, func(client net.Conn) { _, _ = io.Copy(io.Discard, client) }) + "/database?sslmode=disable"
}

// silentAfter returns a URL at which a database answers until it is asked something with this word in it.
func silentAfter(t *testing.T, databaseURL, word string) string {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, func(client net.Conn) {
		network, place := pgconn.NetworkAddress(config.Host, config.Port)
		server, err := new(net.Dialer).DialContext(t.Context(), network, place)
		if err != nil { // the test has ended, or fails for the lack of an answer
			return
		}
		defer server.Close()
		go func() { _, _ = io.Copy(client, server) }()
		_, _ = io.Copy(&until{word: []byte(word), to: server}, client)
	})
	user := url.UserPassword(config.User, config.Password)
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", user, address, config.Database)
}

// until passes on what is written until a word is in it, and swallows the rest.
type until struct {
	word   []byte
	to     io.Writer
	silent bool
}

func (u *until) Write(p []byte) (int, error) {
	if u.silent = u.silent || bytes.Contains(p, u.word); u.silent {
		return len(p), nil
	}
	return u.to.Write(p)
}

// listen serves each connection at the address that it returns until the test ends.
func listen(t *testing.T, serve func(client net.Conn)) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, stop := context.WithCancel(context.Background())
	t.Cleanup(func() {
		stop()
		listener.Close()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(served, func() { client.Close() })
			go serve(client)
		}
	}()
	return listener.Addr().String()
}
