package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sharedcontext/sharedcontext/telemetry/v2"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// recorded is a manager whose spans are kept.
type recorded struct {
	*store.Manager
	spans    *tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
}

func record(t *testing.T, config store.Config) (context.Context, recorded) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	config.Tracer = telemetry.NewTracer(provider, "CartAdd")
	ctx, m := storetest.Open(t, config)
	return ctx, recorded{m, spans, provider}
}

// span calls fn inside of a span of the service and returns what was recorded below it, in the order of its start.
func (r recorded) span(ctx context.Context, fn func(ctx context.Context)) []sdktrace.ReadOnlySpan {
	r.spans.Reset()
	ctx, span := r.provider.Tracer("service").Start(ctx, "request")
	fn(ctx)
	span.End()
	ended := r.spans.Ended()
	slices.SortStableFunc(ended, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return ended[1:]
}

// tree writes each span as its parents and itself, but for the service's own.
func tree(spans []sdktrace.ReadOnlySpan) []string {
	paths := make(map[trace.SpanID]string, len(spans))
	lines := make([]string, 0, len(spans))
	for _, span := range spans {
		path := span.Name()
		if parent, found := paths[span.Parent().SpanID()]; found {
			path = parent + " > " + path
		}
		paths[span.SpanContext().SpanID()] = path
		lines = append(lines, path)
	}
	return lines
}

// attributesOf are all attributes of a span, as text.
func attributesOf(span sdktrace.ReadOnlySpan) map[string]string {
	texts := make(map[string]string)
	for _, attr := range span.Attributes() {
		texts[string(attr.Key)] = attr.Value.String()
	}
	return texts
}

func TestSpans(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	// Everything is prepared at its first use, on the one connection, which what tells followers of news waits for.
	config.ExecMode, config.MaxConnections = store.ExecModeCacheStatement, 1
	ctx, m := record(t, config)
	session := newSession(ctx, t, m.Manager)
	use := func(ctx context.Context) {
		if _, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: marker}); err != nil {
			t.Error(err)
		}
		if _, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: alice}); err != nil {
			t.Error(err)
		}
		err := m.InTx(ctx, func(ctx context.Context) error {
			if _, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "k", Value: marker}); err != nil {
				return err
			}
			_ = m.InTx(ctx, func(context.Context) error { return errors.New("the savepoint goes back") })
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		mustNot(t, store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
			_, err := conn.CopyFrom(ctx, pgx.Identifier{"audit_log"}, []string{"event_type", "agent_id"}, pgx.CopyFromRows([][]any{{marker, marker}}))
			return err
		}))
		if _, err := store.ExecuteQuery(ctx, "-- name: CartAdd :one\nSELECT 1"); err != nil {
			t.Error(err)
		}
	}
	use(ctx) // outside of a span; prepares the statements
	if n := len(m.spans.Started()); n != 0 {
		t.Errorf("%d spans outside of any", n)
	}
	spans := m.span(ctx, use)
	want := []string{
		"pool.acquire", "MessageAdd",
		"pool.acquire", "MessagePage",
		"pool.acquire", "BEGIN", "MemorySetGlobal", "SAVEPOINT", "ROLLBACK", "COMMIT",
		"pool.acquire", "BEGIN", `copy_from "audit_log"`, "COMMIT",
		"pool.acquire", "CartAdd",
	}
	if diff := cmp.Diff(want, tree(spans)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	for _, span := range spans {
		attributes := attributesOf(span)
		if span.SpanKind() != trace.SpanKindClient || span.Status().Code == codes.Error || attributes["db.system.name"] != "postgresql" {
			t.Errorf("span %s: kind %s, status %v, %v", span.Name(), span.SpanKind(), span.Status(), attributes)
		}
		if span.Name() == "pool.acquire" {
			continue
		}
		name := span.Name()
		if strings.HasPrefix(name, "copy_from") {
			name = "COPY"
		}
		if attributes["db.operation.name"] != name || !strings.Contains(m.Stats().URL, attributes["db.namespace"]) ||
			attributes["db.namespace"] == "" || attributes["network.peer.address"] == "" {
			t.Errorf("span %s: %v", span.Name(), attributes)
		}
	}
	if rows := attributesOf(spans[1])["pgx.rows_affected"]; rows != "1" {
		t.Errorf("MessageAdd: %s rows", rows)
	}
}

// The first call of a process also connects and prepares, each in a span of its own.
func TestSpansOfTheFirstCall(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.ExecMode = store.ExecModeCacheStatement
	ctx, m := record(t, config)
	spans := m.span(ctx, func(ctx context.Context) { newSession(ctx, t, m.Manager) })
	want := []string{"pool.acquire", "pool.acquire > connect", "SessionCreate", "SessionCreate > prepare SessionCreate"}
	if diff := cmp.Diff(want, tree(spans)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// Nothing that a service sends, gets or knows by heart is in a span, whatever fails.
func TestSpansHoldNoValues(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	for _, mode := range []store.ExecMode{
		store.ExecModeCacheStatement, store.ExecModeCacheDescribe, store.ExecModeExec, store.ExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			config := config
			config.ExecMode = mode
			ctx, m := record(t, config)
			failures := 0
			spans := m.span(ctx, func(ctx context.Context) {
				session := newSession(ctx, t, m.Manager)
				_, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: marker, Content: marker, Metadata: map[string]any{marker: marker}})
				mustNot(t, err)
				_, err = m.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: store.Reader{AgentID: marker}})
				mustNot(t, err)
				_, err = m.CreateToken(ctx, store.CreateTokenParams{AgentID: marker, JWT: marker})
				mustNot(t, err)
				for _, failing := range []struct {
					sql    string
					params []any
					shown  bool // whether the error repeats the value, which makes it worth hiding
				}{
					{"SELECT ?::text::int", []any{marker}, true},
					{"SELECT '" + marker + "'::int", nil, true},
					{"-- name: MessageAdd :one\nSELECT '" + marker + "'::int", nil, true},
					{"SELECT ?::int", []any{struct{ Name string }{marker}}, true},
					{"SELECT " + strings.ReplaceAll(marker, "-", "_"), nil, false},
					{`SELECT 1 FROM "` + marker + `"`, nil, true},
					{"INSERT INTO sessions (id, purpose, created_by) VALUES (?, ?, ?), (?, ?, ?)", []any{marker, marker, "a", marker, marker, "a"}, false},
					{"DO $$ BEGIN RAISE '" + marker + "' USING ERRCODE = 'P0001', DETAIL = '" + marker + "', HINT = '" + marker + "'; END $$", nil, true},
					{"/* " + marker + " */ " + marker, nil, false},
				} {
					_, err := store.ExecuteQuery(ctx, failing.sql, failing.params...)
					if err == nil || failing.shown && !strings.Contains(err.Error(), marker) {
						t.Errorf("%s: error %v", failing.sql, err)
					}
					failures++
				}
				mustNot(t, store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
					_, err := conn.CopyFrom(ctx, pgx.Identifier{"audit_log"}, []string{"event_type", "agent_id"}, pgx.CopyFromRows([][]any{{marker, marker}}))
					return err
				}))
			})
			failed := 0
			for _, span := range spans {
				wantNoValue(t, span)
				if span.Status().Code == codes.Error {
					failed++
				}
			}
			if failed < failures {
				t.Errorf("%d spans say that they failed, of %d failures", failed, failures)
			}
		})
	}
}

// A connection that cannot be had says why, without the password.
func TestSpansOfAnUnreachableServer(t *testing.T) {
	t.Parallel()
	ctx, m := record(t, store.Config{URL: "postgres://user:" + marker + "@127.0.0.1:1/database", MinConnections: -1})
	spans := m.span(ctx, func(ctx context.Context) {
		if _, err := store.ExecuteQuery(ctx, "SELECT 1"); err == nil {
			t.Error("something answered")
		}
	})
	if diff := cmp.Diff([]string{"pool.acquire", "pool.acquire > connect"}, tree(spans)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	for _, span := range spans {
		wantNoValue(t, span)
		if status := span.Status(); status.Code != codes.Error || !strings.Contains(status.Description, "127.0.0.1:1") {
			t.Errorf("span %s: %v", span.Name(), status)
		}
	}
}

// Of an error, a span keeps its SQLSTATE, or that the caller gave up or was too late.
func TestSpansOfErrors(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.MaxConnections = 1
	ctx, m := record(t, config)
	spans := m.span(ctx, func(ctx context.Context) {
		_, err := store.ExecuteQuery(ctx, "SELECT 1 FROM missing")
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) {
			t.Errorf("got error %v", err)
		}
		mustNot(t, m.InTx(ctx, func(context.Context) error {
			waiting, cancel := context.WithCancel(ctx)
			cancel()
			if _, err := store.ExecuteQuery(waiting, "SELECT 2"); !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v", err)
			}
			return nil
		}))
	})
	states := make([]string, 0, len(spans))
	for _, span := range spans {
		if span.Status().Code == codes.Error {
			states = append(states, span.Name()+": "+attributesOf(span)["pgx.sql_state"]+" "+span.Status().Description)
		}
	}
	for _, want := range []string{
		"SELECT: 42P01 ERROR: see the server's log, as the message may repeat values (SQLSTATE 42P01)", "pool.acquire:  context canceled",
	} {
		if !slices.Contains(states, want) {
			t.Errorf("no span says %q:\n%s", want, strings.Join(states, "\n"))
		}
	}
}

// A connection over TCP names its peer; one that is cut in the middle of a statement is an error of that kind.
func TestSpansOfACutConnection(t *testing.T) {
	t.Parallel()
	config, address, cut := throughTCP(t, storetest.Config(t))
	config.ExecMode = store.ExecModeExec // nothing is prepared
	collector := telemetry.NewCollector()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	config.Tracer = multitracer.New(telemetry.NewTracer(provider), collector)
	ctx, m := storetest.Open(t, config)
	below := recorded{m, spans, provider}.span(ctx, func(ctx context.Context) {
		mustNot(t, m.InTx(ctx, func(context.Context) error { return nil }))
		cut()
		if _, err := store.ExecuteQuery(ctx, "SELECT 1"); !errors.As(err, new(*store.DatabaseConnectionError)) {
			t.Errorf("got error %v", err)
		}
	})
	if diff := cmp.Diff([]string{"pool.acquire", "pool.acquire > connect", "BEGIN", "COMMIT", "pool.acquire", "SELECT"}, tree(below)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	lost := below[len(below)-1]
	attributes := attributesOf(lost)
	if got := net.JoinHostPort(attributes["network.peer.address"], attributes["network.peer.port"]); got != address {
		t.Errorf("the peer is %s, want %s", got, address)
	}
	if lost.Status().Code != codes.Error || lost.Status().Description == "" {
		t.Errorf("status %v", lost.Status())
	}
	want := counts{"acquire": 2, "connect": 1, "BEGIN": 1, "COMMIT": 1, "SELECT": 1, "SELECT/connection": 1}
	if diff := cmp.Diff(want, collected{m, collector}.counts(t)); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

// throughTCP returns the configuration for a way to the same database over TCP, its address, and what cuts the connections.
func throughTCP(t *testing.T, config store.Config) (through store.Config, address string, cut func()) {
	t.Helper()
	direct, err := pgx.ParseConfig(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var open struct {
		sync.Mutex
		conns []net.Conn
	}
	cut = func() {
		open.Lock()
		defer open.Unlock()
		for _, conn := range open.conns {
			conn.Close()
		}
	}
	t.Cleanup(cut)
	network, place := pgconn.NetworkAddress(direct.Host, direct.Port)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).Dial(network, place)
			if err != nil {
				client.Close()
				return
			}
			open.Lock()
			open.conns = append(open.conns, client, server)
			open.Unlock()
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					way[0].Close()
				}()
			}
		}
	}()
	address = listener.Addr().String()
	config.URL = fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", url.UserPassword(direct.User, direct.Password), address, direct.Database)
	return config, address, cut
}

// wantNoValue fails if the marker is anywhere in a span.
func wantNoValue(t *testing.T, span sdktrace.ReadOnlySpan) {
	t.Helper()
	texts := []string{span.Name(), span.Status().Description}
	collect := func(attributes []attribute.KeyValue) {
		for _, attr := range attributes {
			texts = append(texts, string(attr.Key)+"="+attr.Value.String())
		}
	}
	collect(span.Attributes())
	for _, event := range span.Events() {
		texts = append(texts, event.Name)
		collect(event.Attributes)
	}
	for _, link := range span.Links() {
		collect(link.Attributes)
	}
	texts = append(texts, fmt.Sprint(span.SpanContext().TraceState(), span.Resource()))
	for _, text := range texts {
		if strings.Contains(text, marker) || strings.Contains(text, strings.ReplaceAll(marker, "-", "_")) {
			t.Errorf("span %s shows a value: %s", span.Name(), text)
		}
	}
}

func mustNot(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
