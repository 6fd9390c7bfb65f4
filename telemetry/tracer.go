package telemetry

import (
	"context"
	"net"
	"strconv"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes OpenTelemetry spans of what a manager does with its connections, by way of otelpgx. [NewTracer] makes one.
type Tracer struct {
	spans *otelpgx.Tracer
	names statementNames
}

var (
	_ pgx.QueryTracer       = (*Tracer)(nil)
	_ pgx.CopyFromTracer    = (*Tracer)(nil)
	_ pgx.PrepareTracer     = (*Tracer)(nil)
	_ pgx.ConnectTracer     = (*Tracer)(nil)
	_ pgxpool.AcquireTracer = (*Tracer)(nil)
)

// NewTracer returns a tracer for the field Tracer of [store.Config]. A call whose context is in a span that is recorded
// gets spans below that: "pool.acquire", then one named after the statement, such as "MessageAdd" for AddMessage, or
// "BEGIN" and "COMMIT" for InTx. A statement of the service's own is named by its first word, such as "SELECT", or as
// sqlc names it if that is one of statements: "CartAdd" for "-- name: CartAdd :one". A connection that must be made first is
// "connect", a statement that must be prepared "prepare MessageAdd". A call outside of any span gets none.
//
// A span shows the statement by its name alone: neither text nor parameters nor results, and of a server's error the
// SQLSTATE, as its message may repeat a parameter.
//
// A nil provider is the global one of OpenTelemetry.
func NewTracer(provider trace.TracerProvider, statements ...string) *Tracer {
	return &Tracer{
		names: newStatementNames(statements),
		spans: otelpgx.NewTracer(
			otelpgx.WithTracerProvider(provider),
			otelpgx.WithMeterProvider(noop.NewMeterProvider()), // metrics are the Collector's
			otelpgx.WithSpanNameFunc(func(name string) string { return name }),
			otelpgx.WithDisableSQLStatementInAttributes(),
			otelpgx.WithDisableConnectionDetailsInAttributes(), // copies the configuration for each span
		),
	}
}

// TraceQueryStart implements [pgx.QueryTracer].
func (t *Tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx
	}
	name := t.names.of(data.SQL)
	ctx = t.spans.TraceQueryStart(ctx, conn, pgx.TraceQueryStartData{SQL: name})
	describe(ctx, conn, name)
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (t *Tracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	data.Err = withoutValues(reason(ctx, data.Err))
	t.spans.TraceQueryEnd(ctx, conn, data)
}

// TraceCopyFromStart implements [pgx.CopyFromTracer].
func (t *Tracer) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx
	}
	ctx = t.spans.TraceCopyFromStart(ctx, conn, data)
	describe(ctx, conn, copyName)
	return ctx
}

// TraceCopyFromEnd implements [pgx.CopyFromTracer].
func (t *Tracer) TraceCopyFromEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromEndData) {
	data.Err = withoutValues(reason(ctx, data.Err))
	t.spans.TraceCopyFromEnd(ctx, conn, data)
}

// TracePrepareStart implements [pgx.PrepareTracer].
func (t *Tracer) TracePrepareStart(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx
	}
	return t.spans.TracePrepareStart(ctx, conn, pgx.TracePrepareStartData{SQL: "prepare " + t.names.of(data.SQL)})
}

// TracePrepareEnd implements [pgx.PrepareTracer].
func (t *Tracer) TracePrepareEnd(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareEndData) {
	data.Err = withoutValues(reason(ctx, data.Err))
	t.spans.TracePrepareEnd(ctx, conn, data)
}

// TraceConnectStart implements [pgx.ConnectTracer].
func (t *Tracer) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	return t.spans.TraceConnectStart(ctx, data)
}

// TraceConnectEnd implements [pgx.ConnectTracer].
func (t *Tracer) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	if data.Conn != nil {
		data.Conn.PgConn().CustomData()[connectionKey] = connectionAttributes(data.Conn)
	}
	data.Err = withoutValues(data.Err)
	t.spans.TraceConnectEnd(ctx, data)
}

// TraceAcquireStart implements [pgxpool.AcquireTracer].
func (t *Tracer) TraceAcquireStart(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireStartData) context.Context {
	return t.spans.TraceAcquireStart(ctx, pool, data)
}

// TraceAcquireEnd implements [pgxpool.AcquireTracer].
func (t *Tracer) TraceAcquireEnd(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	data.Err = withoutValues(data.Err)
	t.spans.TraceAcquireEnd(ctx, pool, data)
}

// connectionKey is where a connection keeps its attributes.
const connectionKey = "sharedcontext/telemetry"

// connectionAttributes says where a connection leads: of several hosts, to the one that let it in.
func connectionAttributes(conn *pgx.Conn) []attribute.KeyValue {
	attributes := []attribute.KeyValue{semconv.DBNamespace(conn.Config().Database)}
	address := conn.PgConn().Conn().RemoteAddr().String()
	host, port, err := net.SplitHostPort(address)
	if err != nil { // a socket
		return append(attributes, semconv.NetworkPeerAddress(address))
	}
	number, _ := strconv.Atoi(port) // net has written it
	return append(attributes, semconv.NetworkPeerAddress(host), semconv.NetworkPeerPort(number))
}

// describe says in the span that has just begun what runs, and where.
func describe(ctx context.Context, conn *pgx.Conn, name string) {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(semconv.DBOperationName(name))
	if attributes, found := conn.PgConn().CustomData()[connectionKey].([]attribute.KeyValue); found {
		span.SetAttributes(attributes...)
	}
}
