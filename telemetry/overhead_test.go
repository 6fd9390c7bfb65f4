package telemetry_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sharedcontext/sharedcontext/telemetry/v2"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// What each way to look at the store adds to a call: compare the lines with "alone".
func BenchmarkOverhead(b *testing.B) {
	database := storetest.Config(b)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	untraced := noop.NewTracerProvider().Tracer("service")
	b.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	for _, way := range []struct {
		name     string
		tracer   pgx.QueryTracer
		logged   bool
		recorded bool // whether the calls are in a span
	}{
		{name: "alone"},
		{name: "collector", tracer: telemetry.NewCollector()},
		{name: "tracer outside of a span", tracer: telemetry.NewTracer(provider)},
		{name: "tracer", tracer: telemetry.NewTracer(provider), recorded: true},
		{name: "log", logged: true},
		{name: "all", tracer: multitracer.New(telemetry.NewTracer(provider), telemetry.NewCollector()), logged: true, recorded: true},
	} {
		b.Run(way.name, func(b *testing.B) {
			config := database
			config.Tracer, config.QueryLogging, config.Logger = way.tracer, way.logged, slog.New(slog.NewJSONHandler(io.Discard, nil))
			ctx, m := storetest.Open(b, config)
			session := newSession(ctx, b, m)
			service := untraced
			if way.recorded {
				service = provider.Tracer("service")
			}
			b.ReportAllocs()
			for b.Loop() {
				request, span := service.Start(ctx, "request")
				if _, err := m.GetSession(request, session.ID, alice); err != nil {
					b.Fatal(err)
				}
				span.End()
			}
		})
	}
}
