package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// wire stands between a manager and its server and counts round trips: the server ends each with ReadyForQuery.
type wire struct {
	trips atomic.Int64
}

// newWire returns a wire and the configuration that goes through it.
func newWire(t *testing.T) (*wire, store.Config) {
	t.Helper()
	config := storetest.Config(t)
	target, err := pgx.ParseConfig(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	if target.TLSConfig != nil {
		t.Skip("the server wants TLS, through which messages cannot be counted")
	}
	network, address := pgconn.NetworkAddress(target.Host, target.Port)
	dir, err := os.MkdirTemp("", "wire") // t.TempDir() is too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	w := new(wire)
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				client.Close()
				continue
			}
			connections.Go(func() { _, _ = io.Copy(server, client); server.Close() })
			connections.Go(func() { w.forward(client, server); client.Close() })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		connections.Wait()
		os.RemoveAll(dir)
	})
	config.URL = "postgres://" + url.UserPassword(target.User, target.Password).String() + "@/" + target.Database + "?host=" + url.QueryEscape(dir)
	return w, config
}

// forward passes on what the server says, message by message.
func (w *wire) forward(client io.Writer, server io.Reader) {
	header := make([]byte, 5) // type, then length that counts itself
	for {
		if _, err := io.ReadFull(server, header); err != nil {
			return
		}
		if header[0] == 'Z' { // ReadyForQuery
			w.trips.Add(1)
		}
		if _, err := client.Write(header); err != nil {
			return
		}
		if _, err := io.CopyN(client, server, int64(binary.BigEndian.Uint32(header[1:]))-4); err != nil {
			return
		}
	}
}

// Each operation is one round trip, found or not found, once the connection knows its statement.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	wire, config := newWire(t)
	config.MaxConnections = 1
	config.NotifyInterval = -1 // what tells followers is beside the operations, for many of them at once
	config.EncryptionKeys = []store.Secret{tokenKey}
	ctx, m := storetest.Open(t, config)
	token := newToken(ctx, t, m)
	session := newSession(ctx, t, m)
	parent, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: "parent"})
	if err != nil {
		t.Fatal(err)
	}
	message := store.NewMessage{Sender: "alice", Content: "x", Metadata: map[string]any{"k": 1}, ParentMessageID: &parent.ID}

	tests := []struct {
		name string
		call func() error
	}{
		{"create session", func() error {
			_, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "x", CreatedBy: "alice"})
			return err
		}},
		{"get session", func() error { _, err := m.GetSession(ctx, session.ID, alice); return err }},
		{"get unknown session", func() error {
			_, err := m.GetSession(ctx, unknownSession, alice)
			return ignore(err, store.ErrSessionNotFound)
		}},
		{"list active sessions", func() error {
			_, err := m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice})
			return err
		}},
		{"deactivate session", func() error { return m.DeactivateSession(ctx, session.ID, "alice") }},
		{"delete unknown session", func() error {
			return ignore(m.DeleteSession(ctx, unknownSession, "alice"), store.ErrSessionNotFound)
		}},
		{"add message", func() error { _, err := m.AddMessage(ctx, session.ID, message); return err }},
		{"add message to unknown session", func() error {
			_, err := m.AddMessage(ctx, unknownSession, message)
			return ignore(err, store.ErrSessionNotFound)
		}},
		{"add messages", func() error {
			_, err := m.AddMessages(ctx, session.ID, []store.NewMessage{message, message, message})
			return err
		}},
		{"get messages by offset", func() error {
			_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: alice})
			return err
		}},
		{"get messages by key", func() error {
			_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: alice, After: &store.MessageCursor{}})
			return err
		}},
		{"get messages of unknown session", func() error {
			_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: unknownSession, Reader: alice, After: &store.MessageCursor{}})
			return ignore(err, store.ErrSessionNotFound)
		}},
		{"add message under a key", func() error {
			keyed := message
			keyed.IdempotencyKey = "key"
			_, err := m.AddMessage(ctx, session.ID, keyed)
			return err
		}},
		{"list messages by sender", func() error {
			_, err := m.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: session.ID, Reader: alice, Sender: "alice"})
			return err
		}},
		{"list messages by time", func() error {
			_, err := m.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: session.ID, Reader: alice})
			return err
		}},
		{"get message thread", func() error { _, err := m.GetMessageThread(ctx, session.ID, parent.ID, alice); return err }},
		{"count messages", func() error { _, err := m.CountMessages(ctx, session.ID, alice); return err }},
		{"search context", func() error {
			_, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: session.ID, Reader: alice, Query: "x"})
			return err
		}},
		{"search context of unknown session", func() error {
			_, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: unknownSession, Reader: alice, Query: "x"})
			return ignore(err, store.ErrSessionNotFound)
		}},
		{"get search index", func() error { _, err := m.SearchIndex(ctx); return err }},
		{"merge session metadata", func() error {
			_, err := m.MergeSessionMetadata(ctx, session.ID, map[string]any{"participant_count": 2})
			return err
		}},
		{"create token", func() error {
			_, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT})
			return err
		}},
		{"resolve token", func() error { _, err := m.ResolveToken(ctx, token.ID); return err }},
		{"resolve unknown token", func() error {
			_, err := m.ResolveToken(ctx, unknownToken)
			return ignore(err, store.ErrTokenInvalid)
		}},
		{"refresh token", func() (err error) { token, err = m.RefreshToken(ctx, token.ID); return err }},
		{"refresh unknown token", func() error {
			_, err := m.RefreshToken(ctx, unknownToken)
			return ignore(err, store.ErrTokenInvalid)
		}},
		{"recover token", func() error { _, err := m.RecoverToken(ctx, token.ID); return err }},
		{"recover unknown token", func() error {
			_, err := m.RecoverToken(ctx, unknownToken)
			return ignore(err, store.ErrTokenInvalid)
		}},
		{"clean up expired tokens", func() error { _, err := m.CleanupExpiredTokens(ctx); return err }},
		{"set global memory", func() error {
			_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "k", Value: "v"})
			return err
		}},
		{"set memory of a session", func() error {
			_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: session.ID, Key: "k", Value: "v"})
			return err
		}},
		{"set memory that exists", func() error {
			_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: session.ID, Key: "k", Value: "v", KeepExisting: true})
			return ignore(err, store.ErrMemoryKeyExists)
		}},
		{"set memory of an unknown session", func() error {
			_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: unknownSession, Key: "k", Value: "v"})
			return ignore(err, store.ErrSessionNotFound)
		}},
		{"get global memory", func() error {
			_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", Key: "k"})
			return err
		}},
		{"get memory of a session", func() error {
			_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: session.ID, Key: "k"})
			return err
		}},
		{"get unknown memory", func() error {
			_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", Key: "unknown"})
			return ignore(err, store.ErrMemoryNotFound)
		}},
		{"list memory", func() error {
			_, err := m.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice"})
			return err
		}},
		{"list global memory", func() error {
			_, err := m.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", Scope: store.MemoryScopeGlobal})
			return err
		}},
		{"list memory of a session", func() error {
			_, err := m.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", Scope: store.MemoryScopeSession, SessionID: session.ID})
			return err
		}},
		{"list all memory", func() error {
			_, err := m.ListAllMemory(ctx, store.ListAllMemoryParams{Reader: admin})
			return err
		}},
		{"count memory", func() error {
			_, err := m.CountMemory(ctx, store.CountMemoryParams{Reader: admin})
			return err
		}},
		{"delete global memory", func() error {
			err := m.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", Key: "k"})
			return ignore(err, store.ErrMemoryNotFound)
		}},
		{"delete memory of a session", func() error {
			err := m.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", SessionID: session.ID, Key: "k"})
			return ignore(err, store.ErrMemoryNotFound)
		}},
		{"append audit event", func() error {
			_, err := m.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "alice", SessionID: session.ID})
			return err
		}},
		{"append audit event of unknown session", func() error {
			_, err := m.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "alice", SessionID: unknownSession})
			return ignore(err, store.ErrSessionNotFound)
		}},
		{"list audit events", func() error {
			_, err := m.ListAudit(ctx, store.ListAuditParams{Reader: alice, AgentID: "alice", SessionID: session.ID})
			return err
		}},
		{"summarize audit events", func() error {
			_, err := m.SummarizeAudit(ctx, store.SummarizeAuditParams{Reader: alice, AgentID: "alice"})
			return err
		}},
		{"get totals", func() error { _, err := m.Totals(ctx, admin); return err }},
		{"list session activity", func() error {
			_, err := m.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: admin})
			return err
		}},
		{"list agent memory", func() error {
			_, err := m.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: admin})
			return err
		}},
		{"initialize an up-to-date database", func() error { return m.InitializeDatabase(ctx) }},
		{"get schema version", func() error { _, err := store.GetSchemaVersion(ctx); return err }},
		{"execute query", func() error { _, err := store.ExecuteQuery(ctx, "SELECT 1 WHERE ?", true); return err }},
	}
	for _, test := range tests {
		if err := test.call(); err != nil { // prepares the statement
			t.Fatalf("%s: %v", test.name, err)
		}
		before := wire.trips.Load()
		if err := test.call(); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if trips := wire.trips.Load() - before; trips != 1 {
			t.Errorf("%s takes %d round trips, want 1", test.name, trips)
		}
	}

	// Through a transaction pooler nothing is prepared, and each call still is one round trip.
	config.ExecMode = store.ExecModeExec
	pooledCtx, pooled := storetest.Open(t, config)
	call := func(ctx context.Context) error { _, err := pooled.AddMessage(ctx, session.ID, message); return err }
	if err := call(pooledCtx); err != nil {
		t.Fatal(err)
	}
	before := wire.trips.Load()
	if err := call(pooledCtx); err != nil {
		t.Fatal(err)
	}
	if trips := wire.trips.Load() - before; trips != 1 {
		t.Errorf("without prepared statements a call takes %d round trips, want 1", trips)
	}
}

// A cancelled call comes back with the cancellation in its error, and the pool has a connection for the next one.
func TestCancelledCall(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.MaxConnections = 1
	ctx, _ := storetest.Open(t, config)
	cancelled, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := store.ExecuteQuery(cancelled, "SELECT pg_sleep(600)")
	wantError(t, err, context.DeadlineExceeded)
	var failure *store.DatabaseError
	if !errors.As(err, &failure) || failure.Op != "execute query" {
		t.Errorf("got %v, want a DatabaseError of this operation", err)
	}
	if one := count(ctx, t, "SELECT count(*)"); one != 1 {
		t.Errorf("the next call gives %d", one)
	}
}
