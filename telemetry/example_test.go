package telemetry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/multitracer"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/sharedcontext/sharedcontext/telemetry/v2"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// A service that logs, traces and measures what it does with its database.
func Example() {
	config, done := exampleConfig() // in a service: store.ConfigFromEnv()
	defer done()
	if err := serve(context.Background(), config, printer{}); err != nil { // in a service: otlptracehttp.New(ctx)
		log.Fatal(err)
	}
	// Output:
	// GET /livez: 200
	// GET /readyz: 200 healthy
	// span pool.acquire in a trace
	// span MessageAdd in a trace
	// span POST /messages
	// POST /messages: 201
	// GET /metrics: 200 sharedcontext_operation_duration_seconds_count{operation="MessageAdd"} 1
}

// printer exports spans to a person.
type printer struct{}

func (printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		switch {
		case strings.HasPrefix(span.Name(), "prepare "): // only where the statement is new to its connection
		case span.Parent().IsValid():
			fmt.Println("span", span.Name(), "in a trace")
		default:
			fmt.Println("span", span.Name())
		}
	}
	return nil
}

func (printer) Shutdown(context.Context) error { return nil }

// serve is the main function of a small service, but that it asks itself and ends.
func serve(ctx context.Context, config store.Config, exporter sdktrace.SpanExporter) error {
	// Logs: slow statements at level WARN, with ENABLE_QUERY_LOGGING all others as well; never a parameter.
	config.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	config.SlowQuery = 30 * time.Second // in a service rather 500 ms

	// Traces: what the store does becomes part of the trace of the request whose context it gets.
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)) // in a service: WithBatcher
	defer provider.Shutdown(context.WithoutCancel(ctx))
	tracer := provider.Tracer("service")

	// Metrics: the collector hears of the statements as a tracer, and asks the manager for its pool.
	collector := telemetry.NewCollector()
	config.Tracer = multitracer.New(telemetry.NewTracer(provider), collector)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)

	manager, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer manager.Close(context.WithoutCancel(ctx))
	collector.Watch(manager)
	if err := manager.InitializeDatabase(ctx); err != nil {
		return err
	}
	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "say hello", CreatedBy: "service"})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	// Alive is who answers. A service that asked the database here would be restarted for its failures.
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	// Ready is who has a connection to a database with the right schema. The context bounds the wait.
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		status := store.HealthCheck(store.NewContext(ctx, manager))
		if !status.Healthy() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(status)
	})
	mux.HandleFunc("POST /messages", func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(r.Context(), r.Pattern) // in a service: otelhttp.NewHandler around mux
		defer span.End()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		message := store.NewMessage{Sender: "service", Content: "hello"}
		if _, err := manager.AddMessage(ctx, session.ID, message); err != nil {
			config.Logger.ErrorContext(ctx, "message not added", "error", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	return ask(mux)
}

// ask sends requests and prints what of the answers is the same every time.
func ask(handler http.Handler) error {
	for _, request := range []struct{ method, path, shown string }{
		{"GET", "/livez", ""}, {"GET", "/readyz", "healthy"}, {"POST", "/messages", ""},
		{"GET", "/metrics", `sharedcontext_operation_duration_seconds_count{operation="MessageAdd"} 1`},
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(request.method, request.path, nil))
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %s: %d", request.method, request.path, answer.Code)
		if request.shown != "" && strings.Contains(string(body), request.shown) {
			line += " " + request.shown
		}
		fmt.Println(line)
	}
	return nil
}

// A collector of one of several databases.
func ExampleNewCollector() {
	config, done := exampleConfig() // in a service: store.ConfigFromEnv()
	defer done()
	collector := telemetry.NewCollector()
	config.Tracer = collector
	ctx := context.Background()
	manager, err := store.Open(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)
	collector.Watch(manager)
	registry := prometheus.NewRegistry() // in a service: prometheus.DefaultRegisterer
	prometheus.WrapRegistererWith(prometheus.Labels{"database": "main"}, registry).MustRegister(collector)

	if _, err := manager.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: store.Reader{AgentID: "alice"}}); err != nil {
		log.Fatal(err)
	}
	err = testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP sharedcontext_pool_connections Connections of the pool by their state.
# TYPE sharedcontext_pool_connections gauge
sharedcontext_pool_connections{database="main",state="idle"} 1
sharedcontext_pool_connections{database="main",state="in_use"} 0
sharedcontext_pool_connections{database="main",state="opening"} 0
`), "sharedcontext_pool_connections")
	fmt.Println("as expected:", err == nil)
	// Output: as expected: true
}
