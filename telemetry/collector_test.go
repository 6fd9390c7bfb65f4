package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sharedcontext/sharedcontext/telemetry/v2"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// collected is a manager with its collector.
type collected struct {
	*store.Manager
	collector *telemetry.Collector
}

func collect(t *testing.T, config store.Config, statements ...string) (context.Context, collected) {
	t.Helper()
	collector := telemetry.NewCollector(statements...)
	config.Tracer = collector
	ctx, m := storetest.Open(t, config)
	collector.Watch(m)
	return ctx, collected{m, collector}
}

// counts are the operations and errors that a collector has counted: "MessageAdd" and "MessageAdd/timeout".
type counts map[string]uint64

func (c collected) counts(t *testing.T) counts {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.collector)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := make(counts)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			switch family.GetName() {
			case "sharedcontext_operation_duration_seconds":
				histogram := metric.GetHistogram()
				counted[label(metric, "operation")] = histogram.GetSampleCount()
				if histogram.GetSampleCount() > 0 && histogram.GetSampleSum() <= 0 {
					t.Errorf("%s took no time", label(metric, "operation"))
				}
			case "sharedcontext_operation_errors_total":
				counted[label(metric, "operation")+"/"+label(metric, "kind")] = uint64(metric.GetCounter().GetValue())
			}
			if strings.Contains(metric.String(), marker) {
				t.Errorf("a metric shows a value: %s", metric)
			}
		}
	}
	maps.DeleteFunc(counted, func(_ string, count uint64) bool { return count == 0 })
	return counted
}

func label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// closedCounts closes the manager and returns the counts of all that it did, but for what tells followers of news, at times of
// its own and perhaps on another connection.
func (c collected) closedCounts(ctx context.Context, t *testing.T) counts {
	t.Helper()
	mustNot(t, c.Close(ctx))
	counted := c.counts(t)
	counted["acquire"] -= counted["FollowNotify"]
	delete(counted, "FollowNotify")
	delete(counted, "connect")
	return counted
}

// since returns what was counted since an earlier count.
func (c counts) since(earlier counts) counts {
	difference := make(counts)
	for name, count := range c {
		if count != earlier[name] {
			difference[name] = count - earlier[name]
		}
	}
	return difference
}

func TestOperationsAreCounted(t *testing.T) {
	t.Parallel()
	ctx, m := collect(t, storetest.Config(t), "CartAdd")
	session := newSession(ctx, t, m.Manager)
	message := store.NewMessage{Sender: "alice", Content: marker}
	for range 3 {
		if _, err := m.AddMessage(ctx, session.ID, message); err != nil {
			t.Fatal(err)
		}
	}
	// What the store refuses by itself is no failure of the database.
	if _, err := m.AddMessage(ctx, "session_0000000000000000", message); !errors.Is(err, store.ErrSessionNotFound) {
		t.Fatalf("got error %v", err)
	}
	if _, err := m.AddMessage(ctx, marker, message); !errors.As(err, new(*store.ValidationError)) {
		t.Fatalf("got error %v", err)
	}
	for range 2 {
		if _, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: alice}); err != nil {
			t.Fatal(err)
		}
	}
	setMemory := func(ctx context.Context) error {
		_, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "key", Value: marker})
		return err
	}
	mustNot(t, m.InTx(ctx, setMemory))
	failed := errors.New("goes back")
	if err := m.InTx(ctx, func(ctx context.Context) error { return errors.Join(setMemory(ctx), failed) }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	mustNot(t, store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		_, err := conn.CopyFrom(ctx, pgx.Identifier{"audit_log"}, []string{"event_type", "agent_id"}, pgx.CopyFromRows([][]any{{marker, marker}}))
		return err
	}))
	for _, sql := range []string{
		"-- name: CartAdd :one\nSELECT 1", "-- name: Cart_" + strings.ReplaceAll(marker, "-", "_") + " :one\nSELECT 1", "/* " + marker + " */ VALUES (1)",
	} {
		_, err := store.ExecuteQuery(ctx, sql)
		mustNot(t, err)
	}
	want := counts{
		"acquire":       13,
		"SessionCreate": 1, "MessageAdd": 4, "MessagePage": 2, "MemorySetGlobal": 2,
		"BEGIN": 3, "COMMIT": 2, "ROLLBACK": 1, "COPY": 1, "CartAdd": 1, "SELECT": 1, "VALUES": 1,
	}
	if diff := cmp.Diff(want, m.closedCounts(ctx, t)); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

func TestErrorsAreCountedByKind(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.MaxConnections, config.AcquireTimeout = 1, time.Second
	ctx, m := collect(t, config)
	earlier := m.counts(t)
	expect := func(what string, want counts) {
		t.Helper()
		now := m.counts(t)
		if diff := cmp.Diff(want, now.since(earlier)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		earlier = now
	}
	query := func(ctx context.Context, sql string, params ...any) error {
		t.Helper()
		_, err := store.ExecuteQuery(ctx, sql, params...)
		if err == nil {
			t.Errorf("%s did not fail", sql)
		}
		return err
	}

	_ = query(ctx, "SELECT ?::text::int", marker)
	expect("a value is refused", counts{"connect": 1, "acquire": 1, "SELECT": 1, "SELECT/other": 1})
	_ = query(ctx, "SELECT ?::int", struct{}{})
	expect("the driver refuses a value", counts{"acquire": 1, "SELECT": 1, "SELECT/other": 1})
	for state, kind := range map[string]string{
		"40001": "conflict", "40P01": "conflict", "57014": "timeout", "55P03": "timeout", "25P03": "connection", "25P04": "connection",
		"42P01": "schema", "42703": "schema", "3F000": "schema", "42704": "schema",
		"53100": "resources", "53200": "resources", "53400": "resources", "58030": "resources",
		"08000": "connection", "08006": "connection", "28000": "connection", "28P01": "connection", "3D000": "connection", "53300": "connection",
		"57P01": "connection", "57P02": "connection", "57P03": "connection", "57P05": "connection",
		"23505": "other", "23503": "other", "42501": "other", "25006": "other", "P0001": "other", "XX000": "other",
	} {
		err := query(ctx, "DO $$ BEGIN RAISE 'x' USING ERRCODE = '"+state+"'; END $$")
		expect("SQLSTATE "+state, counts{"acquire": 1, "DO": 1, "DO/" + kind: 1})
		// The store calls them the same.
		if connection := errors.As(err, new(*store.DatabaseConnectionError)); connection != (kind == "connection") {
			t.Errorf("SQLSTATE %s is of kind %s, the store says %T", state, kind, err)
		}
		if schema := errors.As(err, new(*store.DatabaseSchemaError)); schema != (kind == "schema") {
			t.Errorf("SQLSTATE %s is of kind %s, the store says %T", state, kind, err)
		}
	}

	late, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	_ = query(late, "SELECT pg_sleep(600)")
	cancel()
	expect("a deadline", counts{"acquire": 1, "SELECT": 1, "SELECT/timeout": 1})
	mustNot(t, m.InTx(ctx, func(context.Context) error {
		expect("the deadline has cost no connection", counts{"acquire": 1, "BEGIN": 1})
		_ = query(ctx, "SELECT 1")
		expect("the pool is exhausted", counts{"acquire": 1, "acquire/timeout": 1})
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		_ = query(cancelled, "SELECT 1")
		expect("the caller gives up", counts{"acquire": 1, "acquire/cancelled": 1})
		return nil
	}))
	expect("the end of the transaction", counts{"COMMIT": 1})

	// The server ends the connection in the middle of a statement.
	_ = query(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
	expect("the connection is lost", counts{"acquire": 1, "SELECT": 1, "SELECT/connection": 1})

	unreachable, m := collect(t, store.Config{URL: "postgres://user@127.0.0.1:1/database", MinConnections: -1})
	earlier = m.counts(t)
	if _, err := store.ExecuteQuery(unreachable, "SELECT 1"); !errors.As(err, new(*store.DatabaseConnectionError)) {
		t.Errorf("got error %v", err)
	}
	if diff := cmp.Diff(counts{"acquire": 1, "acquire/connection": 1, "connect": 1, "connect/connection": 1}, m.counts(t)); diff != "" {
		t.Errorf("no server (-want +got):\n%s", diff)
	}
}

func TestPoolIsCollected(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.MaxConnections = 3
	ctx, m := collect(t, config)
	expect := func(idle, inUse, acquired int) {
		t.Helper()
		want := fmt.Sprintf(`
			# HELP sharedcontext_pool_acquires_total Connections that the pool gave out.
			# TYPE sharedcontext_pool_acquires_total counter
			sharedcontext_pool_acquires_total %d
			# HELP sharedcontext_pool_connections Connections of the pool by their state.
			# TYPE sharedcontext_pool_connections gauge
			sharedcontext_pool_connections{state="idle"} %d
			sharedcontext_pool_connections{state="in_use"} %d
			sharedcontext_pool_connections{state="opening"} 0
			# HELP sharedcontext_pool_max_connections How many connections the pool may hold.
			# TYPE sharedcontext_pool_max_connections gauge
			sharedcontext_pool_max_connections 3
		`, acquired, idle, inUse)
		err := testutil.CollectAndCompare(m.collector, strings.NewReader(want), "sharedcontext_pool_acquires_total",
			"sharedcontext_pool_connections", "sharedcontext_pool_max_connections")
		mustNot(t, err)
	}
	expect(0, 0, 0)
	mustNot(t, m.InTx(ctx, func(context.Context) error {
		expect(0, 1, 1)
		return m.InTx(ctx, func(context.Context) error { // another, as ctx is outside of the first
			expect(0, 2, 2)
			return nil
		})
	}))
	expect(2, 0, 2)

	// All three in use, a fourth that waits in vain, and then is let in.
	cancelled, cancel := context.WithCancel(ctx)
	mustNot(t, m.InTx(ctx, func(context.Context) error {
		return m.InTx(ctx, func(context.Context) error {
			return m.InTx(ctx, func(context.Context) error {
				cancel()
				_, err := store.ExecuteQuery(cancelled, "SELECT 1")
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got error %v", err)
				}
				expect(0, 3, 5)
				return nil
			})
		})
	}))
	stats := m.Stats()
	want := fmt.Sprintf(`
		# HELP sharedcontext_pool_abandoned_waits_total Waits for a connection that ended without one.
		# TYPE sharedcontext_pool_abandoned_waits_total counter
		sharedcontext_pool_abandoned_waits_total 1
		# HELP sharedcontext_pool_wait_seconds_total How long was waited for connections that the pool then gave out.
		# TYPE sharedcontext_pool_wait_seconds_total counter
		sharedcontext_pool_wait_seconds_total %v
		# HELP sharedcontext_pool_waits_total Connections that the pool gave out after a wait, as none was idle.
		# TYPE sharedcontext_pool_waits_total counter
		sharedcontext_pool_waits_total 3
	`, stats.WaitDuration.Seconds())
	err := testutil.CollectAndCompare(m.collector, strings.NewReader(want), "sharedcontext_pool_abandoned_waits_total",
		"sharedcontext_pool_wait_seconds_total", "sharedcontext_pool_waits_total")
	mustNot(t, err)
}

// A collector may be registered before its manager is there, and after it was closed.
func TestCollectorWithoutManager(t *testing.T) {
	t.Parallel()
	collector := telemetry.NewCollector()
	if n := testutil.CollectAndCount(collector, "sharedcontext_pool_connections"); n != 0 {
		t.Errorf("%d states of no pool", n)
	}
	// So that the first failure of all is seen to increase.
	if n := testutil.CollectAndCount(collector, "sharedcontext_operation_errors_total"); n != 2*7 {
		t.Errorf("%d errors begin with 0", n)
	}
	config := storetest.Config(t)
	config.Tracer = collector
	ctx, m := storetest.Open(t, config)
	newSession(ctx, t, m)
	mustNot(t, m.Close(ctx))
	collector.Watch(m)
	if n := testutil.CollectAndCount(collector, "sharedcontext_pool_connections"); n != 3 {
		t.Errorf("%d states of a closed pool", n)
	}
}

func TestMetricsAreLinted(t *testing.T) {
	t.Parallel()
	ctx, m := collect(t, storetest.Config(t))
	newSession(ctx, t, m.Manager)
	if _, err := store.ExecuteQuery(ctx, "SELECT 1/0"); err == nil {
		t.Error("a division by zero succeeded")
	}
	registry := prometheus.NewPedanticRegistry()
	mustNot(t, registry.Register(m.collector))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n < 10 {
		t.Errorf("%d metrics were looked at, %v", n, err)
	}
}

// A tracer and a collector work side by side as they do alone.
func TestTogether(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	collector := telemetry.NewCollector()
	config.Tracer = multitracer.New(telemetry.NewTracer(provider), collector)
	config.QueryLogging, config.Logger = true, slog.New(slog.DiscardHandler)
	ctx, m := storetest.Open(t, config)
	newSession(ctx, t, m) // connects and prepares
	session := recorded{m, spans, provider}.span(ctx, func(ctx context.Context) { newSession(ctx, t, m) })
	if diff := cmp.Diff([]string{"pool.acquire", "SessionCreate"}, tree(session)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	got := collected{m, collector}.counts(t)
	if want := (counts{"connect": 1, "acquire": 2, "SessionCreate": 2}); !maps.Equal(got, want) {
		t.Errorf("operations %v, want %v", got, want)
	}
}

// Many callers at once are counted exactly, while Prometheus asks.
func TestConcurrentCallsAreCounted(t *testing.T) {
	t.Parallel()
	ctx, m := collect(t, storetest.Config(t))
	session := newSession(ctx, t, m.Manager)
	const callers, calls = 8, 25
	var work sync.WaitGroup
	for range callers {
		work.Go(func() {
			for range calls {
				if _, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: marker}); err != nil {
					t.Error(err)
				}
				if _, err := store.ExecuteQuery(ctx, "SELECT 1/0"); err == nil {
					t.Error("a division by zero succeeded")
				}
				testutil.CollectAndCount(m.collector)
			}
		})
	}
	work.Wait()
	want := counts{"acquire": 1 + 2*callers*calls, "SessionCreate": 1, "MessageAdd": callers * calls, "SELECT": callers * calls, "SELECT/other": callers * calls}
	if diff := cmp.Diff(want, m.closedCounts(ctx, t)); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

// Migrations run on connections of their own, which are seen as well.
func TestMigrationsAreCounted(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	collector := telemetry.NewCollector()
	config.Tracer = multitracer.New(telemetry.NewTracer(nil), collector)
	ctx, m := storetest.Open(t, config)
	mustNot(t, m.InitializeDatabase(ctx))
	counted := collected{m, collector}.counts(t)
	if counted["connect"] < 2 || counted["SET"] == 0 || counted["CREATE"] == 0 || counted["SchemaState"] < 2 {
		t.Errorf("operations %v", counted)
	}
}
